//! Who may: whether a source is genuine on the interface that its packet came by, and what is for this host.
//!
//! Asked by the XDP programs on a miss and by the tc guards about everything that the kernel gets.

use core::ffi::c_void;

use aya_ebpf::bindings::bpf_fib_lookup;
use nat_common::{
    Addr, Side, Tuple,
    hop::{Iface, NextHop, Rpf},
};

use crate::{kernel::fib, kernel::fib::Route, maps};

/// Whether the source of a packet that came by `iface` can be its sender's (RFC 3704): never this host's own address, and as
/// far as the interface asks for it, one that a route leads to.
#[inline(always)]
pub fn is_genuine(
    ctx: *mut c_void,
    ifindex: u32,
    iface: &Iface,
    source: Addr,
    destination: Addr,
    fib: &mut bpf_fib_lookup,
) -> bool {
    // The FIB tells the host's own addresses, but not while forwarding is off.
    if source == iface.inside_addr || source == iface.outside_addr {
        return false;
    }
    if iface.rpf == Rpf::Strict as u8 {
        return fib::is_behind(ctx, ifindex, source, destination, fib);
    }
    let back = Tuple { src: destination, dst: source, ..Tuple::default() };
    match fib::route(ctx, ifindex, &back, 0, fib) {
        Route::Resolved | Route::Unresolved | Route::Encapsulated | Route::Disabled => true,
        // This host's own address, or one without any route, which no answer would reach.
        Route::Host => false,
        Route::Unreachable | Route::Prohibited | Route::Nowhere => iface.rpf == Rpf::Off as u8,
    }
}

/// Whether a packet for `destination` is for every host on the wire, this one included: multicast, limited broadcast, or the
/// broadcast address of one of the interface's networks.
#[inline(always)]
pub fn is_for_everybody(iface: &Iface, destination: Addr) -> bool {
    destination.is_group()
        || destination == iface.broadcasts[0] && destination != Addr::default()
        || destination == iface.broadcasts[1] && destination != Addr::default()
        || destination == iface.broadcasts[2] && destination != Addr::default()
        || destination == iface.broadcasts[3] && destination != Addr::default()
}

/// Whether the next hop is the destination itself, on the wire that the packet came by: the two need no gateway, and may have
/// been kept apart there (isolated bridge ports, private VLANs).
#[inline(always)]
pub fn is_neighbour(ifindex: u32, next: &NextHop, destination: Addr) -> bool {
    next.ifindex == ifindex && next.addr == destination
}

/// Where the kernel would send an untranslated packet that came by an inside interface.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// It delivers it to this host; or it has no route at all, which the kernel does not tell apart.
    Delivers,
    /// A route says that it must not, and the kernel would tell the sender.
    Refuses,
    /// It routes it to an inside network, or by a way that the host had before natgw.
    Routes,
    /// It would send it outside, untranslated. The guard there stops it unless its destination is exempt.
    LeavesOutside,
    /// It would send it where nobody could send by this interface before natgw made the kernel forward.
    Opens,
}

/// Asks what the kernel would do with an untranslated packet.
#[inline(always)]
pub fn kernel(
    ctx: *mut c_void,
    ifindex: u32,
    iface: &Iface,
    tuple: &Tuple,
    tos: u8,
    fib: &mut bpf_fib_lookup,
) -> Kernel {
    match fib::route(ctx, ifindex, tuple, tos, fib) {
        Route::Resolved | Route::Unresolved => match maps::iface(fib.ifindex) {
            Some(to) if to.side == Side::OUTSIDE => Kernel::LeavesOutside,
            Some(_) if iface.forwarded == 0 && is_neighbour(ifindex, &fib::next_hop(fib), tuple.dst) => {
                Kernel::Opens
            }
            Some(_) => Kernel::Routes,
            None if iface.forwarded != 0 => Kernel::Routes,
            None => Kernel::Opens,
        },
        Route::Encapsulated if iface.forwarded != 0 => Kernel::Routes,
        Route::Encapsulated => Kernel::Opens,
        Route::Host | Route::Disabled => Kernel::Delivers,
        Route::Unreachable | Route::Prohibited | Route::Nowhere => Kernel::Refuses,
    }
}
