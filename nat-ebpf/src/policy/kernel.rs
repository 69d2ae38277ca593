//! What the kernel would do with a packet that natgw does not translate, and whether it may have it.
//!
//! Asked by the XDP programs on a miss and by the tc guards about everything that the kernel gets.

use aya_ebpf::bindings::bpf_fib_lookup;
use nat_common::{Addr, Side, Tuple, hop::Iface};

use crate::{
    frame::{Kind, View},
    hop::resolve::is_neighbour,
    kernel::fib::{self, Route},
    maps,
    wire::parse,
};

/// Where the kernel would send an untranslated packet that came by a managed interface.
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
pub fn does<V: View>(
    frame: V,
    ifindex: u32,
    iface: &Iface,
    tuple: &Tuple,
    tos: u8,
    fib: &mut bpf_fib_lookup,
) -> Kernel {
    match fib::route(frame.context(), ifindex, tuple, tos, fib) {
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

/// Whether a frame was sent to this interface's own station address. tc programs have been told ([`Frame::is_anothers`]).
///
/// [`Frame::is_anothers`]: crate::frame::Frame::is_anothers
#[inline(always)]
pub fn is_for_station<V: View>(frame: V, iface: &Iface) -> bool {
    if !matches!(V::KIND, Kind::Xdp) {
        return true;
    }
    let dmac = parse::station(frame);
    let mut difference = 0;
    for (own, sent) in iface.mac.iter().zip(dmac) {
        difference |= own ^ sent;
    }
    difference == 0
}
