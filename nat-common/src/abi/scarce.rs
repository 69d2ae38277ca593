//! Key and value of `SCARCE`: destinations towards which ports were short.

use bytemuck::{Pod, Zeroable};

use crate::stamp::Stamp;
use crate::tuple::{Addr, Port};

/// Ports are scarce per remote endpoint and pool, never globally.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Destination {
    /// The remote address.
    pub dst: Addr,
    /// The remote port; zero for an ICMP echo.
    pub dport: Port,
    /// IP protocol number.
    pub proto: u8,
    /// Always zero.
    pub spare: u8,
    /// Number of the client's pool, and in the upper half where in the pool the EIPs of the client's link begin.
    pub pool: u32,
}

/// Where the deep walk towards a destination goes on, and whether it makes sense to.
///
/// The walk is drawn at random, and anew whenever it found a port. A port tells whoever sees it at the destination a
/// position on the walk; two positions of one walk would tell its stride, and with it every port that follows. As long as
/// it finds nothing it tells nothing, and goes on: so successive failing attempts try every port of every EIP once.
///
/// A hint: two CPUs that write it at once cost each other a few probes.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Scarcity {
    /// When a walk was last taken.
    pub failed: Stamp,
    /// Member of the pool that the walk is on.
    pub member: u32,
    /// Position on its port ring.
    pub position: u32,
    /// Steps taken on it.
    pub steps: u32,
    /// 1: the last walk found nothing.
    pub is_failing: u32,
    /// The random bits that the walk is keyed by.
    pub nonce: u32,
}

crate::map_value!(Destination, Scarcity);
