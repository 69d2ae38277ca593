//! Whether a source is genuine on the interface that its packet came by.

use aya_ebpf::bindings::bpf_fib_lookup;
use nat_common::{
    Addr, Tuple,
    hop::{Iface, Rpf},
};

use crate::{
    budget,
    frame::{View, checked_alone},
    kernel::fib::{self, Route},
    maps,
    work::Work,
};

checked_alone! {
    /// Whether the source of the packet at hand can be its sender's.
    pub fn is_genuine<V: View>(frame, work) -> bool = of_packet; Xdp as source_xdp, Skb as source_skb, Ip as source_ip
}

#[inline(always)]
fn of_packet<V: View>(frame: V, work: &mut Work) -> bool {
    let ifindex = frame.ingress();
    let Some(iface) = maps::iface(ifindex) else { return false };
    let Tuple { src, dst, .. } = work.packet.tuple;
    can_be_from(frame, ifindex, iface, src, dst, &mut work.route.fib)
}

/// Whether the source of a packet that came by `iface` can be its sender's (RFC 3704): never this host's own address, and as
/// far as the interface asks for it, one that a route leads to.
#[inline(always)]
fn can_be_from<V: View>(
    frame: V,
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
        return is_behind(frame, ifindex, source, destination, fib);
    }
    let back = Tuple { src: destination, dst: source, ..Tuple::default() };
    match fib::route(frame.context(), ifindex, &back, 0, fib) {
        Route::Resolved | Route::Unresolved | Route::Encapsulated | Route::Disabled => true,
        // This host's own address, or one without any route, which no answer would reach.
        Route::Host => false,
        Route::Unreachable | Route::Prohibited | Route::Nowhere => iface.rpf == Rpf::Off as u8,
    }
}

/// Ways of one multipath route that are looked at for a certain device.
const SAMPLES: u32 = 64;

/// Whether the best route to `addr` leads out of the device `ifindex`, as one of several ways, too (ECMP).
///
/// The kernel tells one way of a route, chosen by a hash of both addresses. When it is another, and some route leads out of the
/// device at all, that may be a less specific one; so the route is asked again with other addresses to hash. Of two equal ways
/// the wanted one is missed practically never, of eight once in 5,000.
#[inline(always)]
fn is_behind<V: View>(frame: V, ifindex: u32, addr: Addr, towards: Addr, fib: &mut bpf_fib_lookup) -> bool {
    let context = frame.context();
    let mut tuple = Tuple { src: towards, dst: addr, ..Tuple::default() };
    match fib::route(context, ifindex, &tuple, 0, fib) {
        Route::Resolved | Route::Unresolved if fib.ifindex == ifindex => return true,
        Route::Resolved | Route::Unresolved => {}
        Route::Encapsulated => return fib::leads_out_of(context, ifindex, &tuple, fib),
        // Forwarding is off on the interface: the kernel then tells no route, and forwards nothing from there either.
        Route::Disabled => return true,
        Route::Host | Route::Unreachable | Route::Prohibited | Route::Nowhere => return false,
    }
    if !fib::leads_out_of(context, ifindex, &tuple, fib) || !budget::take_sampling() {
        return false;
    }
    for n in 0..SAMPLES {
        // Any addresses will do that are spread over the whole range.
        tuple.src.be = n.wrapping_mul(0x9e37_79b1);
        let sampled = fib::route(context, ifindex, &tuple, 0, fib);
        if matches!(sampled, Route::Resolved | Route::Unresolved) && fib.ifindex == ifindex {
            return true;
        }
    }
    false
}
