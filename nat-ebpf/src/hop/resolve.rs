//! Where a translated packet goes next: the FIB, asked once per flow and direction.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{bpf_fib_lookup, xdp_md},
    programs::XdpContext,
};
use nat_common::{
    Answer, EGRESS_KERNEL, HopStamp, Reason, Side, Tuple, Verdict,
    hop::{HopSlot, NextHop},
};

use crate::{
    hop::slots, kernel::clock, kernel::fib, kernel::fib::Route, maps, pipeline::Way, policy::source,
    policy::via, report::stats, table::flow::Flow, wire::packet::Packet, work,
};

/// Resolutions by one CPU of which one looks at the daemon's list of next hops although nothing is new.
const NOTE_EVERY: u64 = 16;

/// A resolved (or unresolved) hop: the beginning of a [`HopSlot`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hop {
    /// Slot and generation; [`HopStamp::UNRESOLVED`] when the next packet must ask again.
    pub stamp: HopStamp,
    /// Devmap index, or [`EGRESS_KERNEL`].
    pub egress: u16,
    /// Largest packet; 0 when not known.
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

/// Where a destination lies.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reach {
    /// Out of a managed outside interface.
    Outside,
    /// Out of a managed inside interface.
    Inside,
    /// Out of a one-armed gateway's interface: either side may lie there.
    Either,
    /// The same, and the next hop has an inside address.
    EitherInside,
    /// Inside, to a neighbour of the sender on the wire that the packet came by.
    Neighbour,
    /// Out of a device that natgw does not manage.
    Unmanaged,
    /// Into an encapsulation, by a device that the kernel does not tell.
    Encapsulated,
    /// This host, or no route.
    Host,
    /// An `unreachable` route.
    Unreachable,
    /// A `prohibit` route.
    Prohibited,
    /// A `blackhole` route.
    Nowhere,
}

/// Asks the FIB about the packet at hand once its tuple is `translated`; fills the hop in the scratch space.
#[inline(always)]
pub fn resolve(ctx: &XdpContext, translated: Tuple) -> Reach {
    let Some(asked) = work::translated() else { return Reach::Nowhere };
    *asked = translated;
    hop_resolve(ctx.ctx)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hop_resolve(ctx: *mut xdp_md) -> Reach {
    let (Some(packet), Some(translated), Some(hop)) = (work::packet(), work::translated(), work::hop())
    else {
        return Reach::Nowhere;
    };
    ask(&XdpContext::new(ctx), packet, translated, hop)
}

#[inline(always)]
fn ask(ctx: &XdpContext, packet: &Packet, translated: &Tuple, hop: &mut Hop) -> Reach {
    *hop = Hop::UNRESOLVED;
    let Some(fib) = work::fib() else { return Reach::Nowhere };
    let ifindex = ctx.ingress_ifindex() as u32;
    let route = fib::route(ctx.ctx.cast(), ifindex, translated, packet.tos, fib);
    match route {
        Route::Resolved | Route::Unresolved => {}
        Route::Encapsulated => {
            hop.mtu = fib::encapsulated_mtu(ctx.ctx.cast(), ifindex, translated, packet.tos, fib);
            return Reach::Encapsulated;
        }
        Route::Host | Route::Disabled => return Reach::Host,
        Route::Unreachable => return Reach::Unreachable,
        Route::Prohibited => return Reach::Prohibited,
        Route::Nowhere => return Reach::Nowhere,
    }
    let next = fib::next_hop(fib);
    let (reach, egress) = match maps::iface(next.ifindex) {
        Some(iface) if iface.side == Side::OUTSIDE => (Reach::Outside, iface.devmap),
        Some(iface) if iface.side == Side::INSIDE => {
            let is_neighbour = source::is_neighbour(ifindex, &next, translated.dst);
            (if is_neighbour { Reach::Neighbour } else { Reach::Inside }, iface.devmap)
        }
        Some(iface) if maps::pool(next.addr).is_none() => (Reach::Either, iface.devmap),
        Some(iface) => {
            let is_neighbour = source::is_neighbour(ifindex, &next, translated.dst);
            (if is_neighbour { Reach::Neighbour } else { Reach::EitherInside }, iface.devmap)
        }
        None => (Reach::Unmanaged, EGRESS_KERNEL),
    };
    hop.mtu = mtu(ctx, next.ifindex, translated);
    if route == Route::Resolved {
        hop.macs = macs(fib);
        hop.egress = egress;
        share(ctx, packet, translated, next, hop);
    }
    stats::count(|s| s.hops_resolved += 1);
    if hop.stamp != HopStamp::UNRESOLVED {
        note_now_and_then(next);
    }
    reach
}

/// The largest packet that fits the device and the route. Never the kernel's own answer, which honours the exceptions of
/// path MTU discovery: anybody can plant those, and forwarding ignores them (`net.ipv4.ip_forward_use_pmtu`).
#[inline(always)]
fn mtu(ctx: &XdpContext, ifindex: u32, translated: &Tuple) -> u16 {
    let device = fib::device_mtu(ctx.ctx.cast(), ifindex);
    let route = maps::route_mtu(translated.dst);
    let mtu = if route != 0 && route < device { route } else { device };
    if mtu > u32::from(u16::MAX) { u16::MAX } else { mtu as u16 }
}

/// Gives the hop that was just found to all flows with the same next hop: it finds the slot that holds it, or fills one. When
/// that cannot be now, the hop is this packet's alone, and the next packet asks again.
#[inline(never)]
fn share(ctx: &XdpContext, packet: &Packet, translated: &Tuple, next: NextHop, hop: &mut Hop) {
    let slot = slots::slot(&next, hop.mtu);
    // If the neighbour changed after it was asked for, its slot's stamp is about to be bumped.
    if let Some(stamp) = slots::agrees(slot, &next) {
        hop.stamp = stamp;
        return;
    }
    note(next);
    let Some(held) = slots::hold(slot, &next) else { return };
    // The generation must be there before the lookup whose answer it stands for: a change in between would otherwise go
    // unnoticed.
    let Some(fib) = work::fib() else { return slots::abandon(slot, held) };
    let ifindex = ctx.ingress_ifindex() as u32;
    if fib::route(ctx.ctx.cast(), ifindex, translated, packet.tos, fib) != Route::Resolved {
        return slots::abandon(slot, held);
    }
    let again = fib::next_hop(fib);
    // A route that changed between the two lookups belongs to another slot: ask again next time.
    if again.ifindex != next.ifindex || again.addr != next.addr {
        return slots::abandon(slot, held);
    }
    hop.macs = macs(fib);
    hop.stamp = held;
    slots::fill(slot, held);
}

/// Notes a next hop for the daemon. Out of line: the key's place on the stack is gone again before anybody goes deeper.
#[inline(never)]
fn note(next: NextHop) {
    maps::note_next_hop(&next, clock::now());
}

/// The same for one that was noted when it was new: now and then it is worth a look, so that it stays young.
#[inline(always)]
fn note_now_and_then(next: NextHop) {
    if stats::hops_resolved().is_multiple_of(NOTE_EVERY) {
        note(next);
    }
}

/// The addresses of a successful lookup.
#[inline(always)]
fn macs(fib: &bpf_fib_lookup) -> [u32; 3] {
    bytemuck::cast([fib.dmac, fib.smac])
}

/// Where a hit goes that the fast path would not send: stale hop, TTL, size, or a device of the kernel's. The hop is
/// then in the scratch space.
#[inline(never)]
pub fn way(ctx: &XdpContext, packet: &Packet, flow: Flow) -> Way {
    let Some(hop) = work::hop() else { return Way::Not(Verdict::drop(Reason::NoRoute)) };
    let outbound = flow.is_outbound();
    let stamp = flow.hop();
    *hop = Hop::UNRESOLVED;
    if let Some(current) = slots::current(stamp) {
        *hop = current.read();
    }
    // It may have changed while it was read.
    if hop.stamp != stamp || slots::current(stamp).is_none() {
        // Routes may have changed, so the source is looked at again too.
        if outbound && !via::is_genuine(ctx) {
            return Way::Not(Verdict::drop(Reason::SpoofedSource));
        }
        let translated = flow.entry().translated(&packet.tuple);
        let reach = resolve(ctx, translated);
        let Some(hop) = work::hop() else { return Way::Not(Verdict::drop(Reason::NoRoute)) };
        if is_astray(ctx, outbound, reach) {
            return Way::Not(Verdict::drop(Reason::NoRoute));
        }
        flow.set_hop(stamp, hop.stamp);
        // That was a long time ago for the place to be another flow's by now: it must not keep a hop that is not its own.
        // Unresolved is right for anybody.
        if !flow.is_still(&packet.tuple) {
            flow.set_hop(hop.stamp, HopStamp::UNRESOLVED);
            return Way::Not(Verdict::drop(Reason::Expired));
        }
    }
    let Some(hop) = work::hop() else { return Way::Not(Verdict::drop(Reason::NoRoute)) };
    way_of(packet, hop.mtu, hop.egress)
}

/// Whether a packet of a live flow must not go where its route leads now: outbound back inside or where natgw opened the way,
/// inbound out again (when an inside network's route is gone, the default route leads outside).
#[inline(always)]
fn is_astray(ctx: &XdpContext, outbound: bool, reach: Reach) -> bool {
    match reach {
        Reach::Outside => !outbound,
        Reach::Inside | Reach::Neighbour => outbound,
        Reach::Either | Reach::EitherInside | Reach::Encapsulated => false,
        Reach::Unmanaged => {
            outbound && maps::iface(ctx.ingress_ifindex() as u32).is_none_or(|iface| iface.forwarded == 0)
        }
        Reach::Host | Reach::Unreachable | Reach::Prohibited | Reach::Nowhere => true,
    }
}

/// The same for a hop that is known.
#[inline(always)]
pub fn way_of(packet: &Packet, mtu: u16, egress: u16) -> Way {
    if packet.ttl <= 1 {
        return Way::Not(Verdict::answer(Reason::Ttl, Answer::TimeExceeded));
    }
    if mtu != 0 && packet.len > u32::from(mtu) {
        if packet.df == 0 {
            return Way::Handover;
        }
        return Way::Not(Verdict::answer(Reason::Mtu, Answer::TooBig));
    }
    if egress == EGRESS_KERNEL { Way::Handover } else { Way::Forward }
}
