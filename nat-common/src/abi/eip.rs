//! Elastic IPs, pools, and prefixes.

use bytemuck::{Pod, Zeroable};

use crate::ports::PortSet;
use crate::tuple::{Addr, Port};

/// EIPs in all pools together, at most.
pub const MAX_EIPS: u32 = 4096;

/// Prefixes in each of `POOLS` and `EXEMPT`, at most.
pub const MAX_PREFIXES: u32 = 4096;

/// What an EIP may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EipState {
    /// Takes new flows.
    Active = 0,
    /// Keeps its flows, takes no new ones.
    Draining = 1,
}

/// Value of `EIPS`, whose key is the EIP's [`Addr`], and of `MEMBERS`: a claim wants all of it at once, by number.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Eip {
    /// The address.
    pub addr: Addr,
    /// Ports that flows may take.
    pub ports: PortSet,
    /// Index into the per-EIP counters.
    pub slot: u32,
    /// Pool number, in the order of the configuration.
    pub pool: u32,
    /// [`EipState`] as a number.
    pub state: u8,
    /// 1 when the EIP is also the gateway's own address: the host's sockets share it.
    pub shared: u8,
    /// 1 when some of its ports are in `RESERVED`.
    pub reserves: u8,
    /// Always zero.
    pub spare: u8,
}

impl Eip {
    /// Whether it takes new flows.
    #[inline(always)]
    pub const fn is_active(&self) -> bool {
        self.state == EipState::Active as u8
    }
}

/// Value of `POOLS` (longest prefix of the inside source): the pool's EIPs, as a range of `MEMBERS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PoolRef {
    /// First index into `MEMBERS`.
    pub first: u32,
    /// How many EIPs; never 0.
    pub count: u32,
    /// Pool number, in the order of the configuration.
    pub pool: u32,
}

/// Data of a key of `RESERVED`, an LPM trie to u32 1: ports of an EIP that are never claimed. A range of ports is a few
/// prefixes; the address and the protocol are always whole.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct ReservedPort {
    /// The EIP.
    pub addr: Addr,
    /// IANA protocol number.
    pub proto: u8,
    /// Always zero.
    pub spare: u8,
    /// The port, or the beginning of a range whose size is a power of two.
    pub port: Port,
}

impl ReservedPort {
    /// Bits of a whole key.
    pub const BITS: u32 = 64;
}

/// Elements of `RESERVED`, at most.
pub const MAX_RESERVED: u32 = 16_384;

/// Elements of `ROUTE_MTU`, at most.
pub const MAX_ROUTE_MTUS: u32 = 16_384;

/// Data of an LPM key: an address in network byte order, which is the order the kernel's trie wants.
pub type LpmAddr = Addr;

crate::map_value!(Eip, PoolRef, ReservedPort);
