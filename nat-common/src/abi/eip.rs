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
    /// 1 when the configuration names the link that the pool leaves by: its EIPs then leave by that link wherever it has a route,
    /// even if another one has a better route.
    pub bound: u8,
    /// Index of the outside interface that the EIP belongs to: it leaves by no other. 0: by any.
    pub outside: u32,
    /// EIPs of one pool that belong to one link stand side by side in `MEMBERS`: where those of this link begin, from the pool's
    /// first one.
    pub group_first: u16,
    /// How many they are, this one included.
    pub group_count: u16,
}

impl Eip {
    /// Whether it takes new flows.
    #[inline(always)]
    pub const fn is_active(&self) -> bool {
        self.state == EipState::Active as u8
    }
}

/// Value of `POOLS` (longest prefix of the inside source): the pool's EIPs, as a range of `MEMBERS`, and its tables of choices.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PoolRef {
    /// First index into `MEMBERS`.
    pub first: u32,
    /// How many EIPs; never 0.
    pub count: u16,
    /// Pool number, in the order of the configuration.
    pub pool: u16,
    /// Its tables of choices.
    pub tables: Tables,
}

/// Where the tables of choices of a pool are. One table for all its EIPs comes first. When they belong to several links, one for
/// those of each link follows, in the order in which the links stand in `MEMBERS`.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Tables {
    /// Lower 24 bits: first element of `CHOICES`. Upper eight: the binary logarithm of the number of buckets of each table; all
    /// zero when there is no table, because there is one EIP.
    word: u32,
}

impl Tables {
    const FIRST_BITS: u32 = 24;

    /// That begin with the element `first` of `CHOICES`, and have so many buckets each, a power of two.
    pub const fn new(first: u32, buckets: u32) -> Self {
        Self { word: first | buckets.ilog2() << Self::FIRST_BITS }
    }

    /// Whether there are any.
    #[inline(always)]
    pub const fn exist(self) -> bool {
        self.word != 0
    }

    /// First element of `CHOICES`.
    #[inline(always)]
    pub const fn first(self) -> u32 {
        self.word & ((1 << Self::FIRST_BITS) - 1)
    }

    /// Buckets of each.
    #[inline(always)]
    pub const fn buckets(self) -> u32 {
        1 << (self.word >> Self::FIRST_BITS & 31)
    }

    /// First element of the `nth` table.
    #[inline(always)]
    pub const fn nth(self, nth: u32) -> u32 {
        self.first() + nth * (self.buckets() / CHOICES_PER_WORD)
    }
}

const _: () = assert!(MAX_CHOICES <= 1 << Tables::FIRST_BITS);

/// Members of a pool that one element of `CHOICES` names, 16 bits each.
pub const CHOICES_PER_WORD: u32 = 4;

/// Elements of `CHOICES`, of which a configuration takes half at most, so that the next one has room beside it.
pub const MAX_CHOICES: u32 = 1 << 18;

/// Buckets of a table of choices at most. A client falls into one by its address; the table says which EIP has the bucket.
pub const MAX_BUCKETS: u32 = 1 << 15;

/// Links that the EIPs of one pool may belong to.
pub const MAX_LINKS: u32 = 8;

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

crate::map_value!(Eip, PoolRef, Tables, ReservedPort);
