//! Where a packet goes, as the packet path knows it.

use core::mem::offset_of;

use aya_ebpf::bindings::bpf_fib_lookup;
use nat_common::{
    EGRESS_KERNEL, HopStamp, Tuple,
    hop::{HopSlot, NextHop},
};

/// A route: the question, the kernel's answer, and what natgw makes of it.
#[repr(C)]
pub struct Route {
    /// What the packet's tuple becomes.
    pub translated: Tuple,
    /// Question and answer of a FIB lookup.
    pub fib: bpf_fib_lookup,
    /// The hop.
    pub hop: Hop,
    /// Whose hop it is; all zero when the kernel does not tell (encapsulation).
    pub next: NextHop,
    /// The link that the packet's EIP belongs to, by which alone it may leave; 0 for any.
    pub own: u32,
    /// The link that the lookup was restricted to; 0 for none.
    pub by: u32,
    /// The link that it found; 0 when it found none.
    pub link: u32,
}

/// A resolved (or unresolved) hop: the beginning of a [`HopSlot`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hop {
    /// Slot and generation; [`HopStamp::UNRESOLVED`] when the next packet must ask again.
    pub stamp: HopStamp,
    /// Devmap index, or [`EGRESS_KERNEL`].
    pub egress: u16,
    /// Largest packet in bytes of IPv4; 0 when not known.
    pub mtu: u16,
    /// Next hop's and egress interface's address, as the first three words of an Ethernet header.
    pub macs: [u32; 3],
}

const _: () = assert!(
    offset_of!(HopSlot, stamp) == offset_of!(Hop, stamp)
        && offset_of!(HopSlot, egress) == offset_of!(Hop, egress)
        && offset_of!(HopSlot, mtu) == offset_of!(Hop, mtu)
        && offset_of!(HopSlot, dmac) == offset_of!(Hop, macs)
        && offset_of!(HopSlot, smac) == offset_of!(HopSlot, dmac) + 6
);

impl Hop {
    /// Not asked yet.
    pub const UNRESOLVED: Self =
        Self { macs: [0; 3], egress: EGRESS_KERNEL, mtu: 0, stamp: HopStamp::UNRESOLVED };
}
