//! Where a translated packet goes next: the FIB, asked once per flow and direction.

use aya_ebpf::bindings::bpf_fib_lookup;
use nat_common::{Addr, EGRESS_KERNEL, HopStamp, Side, Tuple, handover::Handover, hop::NextHop};

use super::slots;
use crate::{
    frame::{Frame, View, checked_alone, registers},
    kernel::{
        clock,
        fib::{self, Route},
    },
    maps,
    report::stats,
    work::{Work, route::Hop},
};

/// Resolutions by one CPU of which one looks at the daemon's list of next hops although nothing is new.
const NOTE_EVERY: u64 = 16;

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
    /// Out of a one-armed gateway's interface, to a next hop with an inside address.
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
    /// Out of a link that the packet's EIP does not belong to.
    Astray,
}

impl Reach {
    /// Whether nothing leads there: other routes may, from another EIP.
    #[inline(always)]
    pub const fn is_no_way(self) -> bool {
        matches!(self, Self::Host | Self::Unreachable | Self::Nowhere)
    }

    /// Whether a translated packet may leave.
    #[inline(always)]
    pub const fn is_way(self) -> bool {
        self.is_by_link() || matches!(self, Self::Encapsulated)
    }

    /// Whether a translated packet would leave by the link that the lookup found.
    #[inline(always)]
    const fn is_by_link(self) -> bool {
        matches!(self, Self::Outside | Self::Either | Self::EitherInside | Self::Unmanaged)
    }
}

registers!(Reach: Reach::Nowhere);

/// Asks the FIB about the packet at hand once its tuple is `translated`; fills `work.route`.
#[inline(always)]
pub fn resolve<F: Frame>(frame: F, work: &mut Work, translated: Tuple) -> Reach {
    resolve_on(frame, work, translated, 0)
}

/// The same for a packet that may leave by the link `own` only (0: by any). When its way leads out of another one, any way out of
/// `own` will do: of several equal ones the kernel picks one by the addresses, and a flow stays on the link that it was born on.
/// When there is none, it is [`Reach::Astray`].
#[inline(always)]
pub fn resolve_on<F: Frame>(frame: F, work: &mut Work, translated: Tuple, own: u32) -> Reach {
    work.route.translated = translated;
    work.route.own = own;
    ask(frame, work)
}

checked_alone! {
    fn ask<F: Frame>(frame, work) -> Reach = resolved; Xdp as hop_resolve, Skb as hop_resolve_skb, Ip as hop_resolve_ip
}

#[inline(always)]
fn resolved<F: Frame>(frame: F, work: &mut Work) -> Reach {
    let (context, ifindex, tos) = (frame.context(), frame.ingress(), work.packet.tos);
    let route = &mut work.route;
    (route.hop, route.next) = (Hop::UNRESOLVED, Handover::KERNEL);
    (route.by, route.link) = (0, 0);
    let mut found = fib::route(context, ifindex, &route.translated, tos, &mut route.fib);
    match found {
        Route::Resolved | Route::Unresolved => {}
        Route::Encapsulated => {
            route.hop.mtu = fib::encapsulated_mtu(context, ifindex, &route.translated, tos, &mut route.fib);
            return Reach::Encapsulated;
        }
        Route::Host | Route::Disabled => return Reach::Host,
        Route::Unreachable => return Reach::Unreachable,
        Route::Prohibited => return Reach::Prohibited,
        Route::Nowhere => return Reach::Nowhere,
    }
    let mut next = fib::next_hop(&route.fib);
    let (mut towards, mut egress) = reach(ifindex, &next, route.translated.dst);
    let own = route.own;
    if own != 0 && next.ifindex != own && towards.is_by_link() {
        // The other links are all to the internet, more or less. What is sent to a device that natgw does not manage is not.
        if towards == Reach::Unmanaged {
            return Reach::Astray;
        }
        found = fib::route_by(context, own, &route.translated, tos, &mut route.fib);
        if !matches!(found, Route::Resolved | Route::Unresolved) {
            return Reach::Astray;
        }
        route.by = own;
        next = fib::next_hop(&route.fib);
        (towards, egress) = reach(ifindex, &next, route.translated.dst);
    }
    (route.link, route.next) = (next.ifindex, next);
    route.hop.mtu = mtu(frame, next.ifindex, route.translated.dst);
    if found == Route::Resolved || has_no_neighbours(next.ifindex) {
        route.hop.macs = macs(&route.fib);
        route.hop.egress = egress;
        share(frame, work, next);
    }
    stats::count(|s| s.hops_resolved += 1);
    if work.route.hop.stamp != HopStamp::UNRESOLVED {
        note_now_and_then(next);
    }
    towards
}

/// Where a next hop lies, and the devmap index of the interface that leads there.
#[inline(always)]
fn reach(ifindex: u32, next: &NextHop, destination: Addr) -> (Reach, u16) {
    match maps::iface(next.ifindex) {
        Some(iface) if iface.side == Side::OUTSIDE => (Reach::Outside, iface.devmap),
        Some(iface) if iface.side == Side::INSIDE => {
            let is_neighbour = is_neighbour(ifindex, next, destination);
            (if is_neighbour { Reach::Neighbour } else { Reach::Inside }, iface.devmap)
        }
        Some(iface) if maps::pool(next.addr).is_none() => (Reach::Either, iface.devmap),
        Some(iface) => {
            let is_neighbour = is_neighbour(ifindex, next, destination);
            (if is_neighbour { Reach::Neighbour } else { Reach::EitherInside }, iface.devmap)
        }
        None => (Reach::Unmanaged, EGRESS_KERNEL),
    }
}

/// Whether the next hop is the destination itself, on the wire that the packet came by: the two need no gateway, and may have
/// been kept apart there (isolated bridge ports, private VLANs).
#[inline(always)]
pub fn is_neighbour(ifindex: u32, next: &NextHop, destination: Addr) -> bool {
    next.ifindex == ifindex && next.addr == destination
}

/// Whether a managed interface has no link-layer header: whatever is sent by it has one receiver, and nobody's address is asked
/// for. The kernel knows no neighbour there until it has sent something by itself.
#[inline(always)]
fn has_no_neighbours(ifindex: u32) -> bool {
    maps::iface(ifindex).is_some_and(|iface| iface.mac == [0; 6])
}

/// The largest packet that fits the device and the route. Never the kernel's own answer, which honours the exceptions of
/// path MTU discovery: anybody can plant those, and forwarding ignores them (`net.ipv4.ip_forward_use_pmtu`).
#[inline(always)]
fn mtu<V: View>(frame: V, ifindex: u32, destination: Addr) -> u16 {
    let device = fib::device_mtu(frame.context(), ifindex);
    let route = maps::route_mtu(destination);
    let mtu = if route != 0 && route < device { route } else { device };
    if mtu > u32::from(u16::MAX) { u16::MAX } else { mtu as u16 }
}

/// Gives the hop that was just found to all flows with the same next hop: it finds the slot that holds it, or fills one. When
/// that cannot be now, the hop is this packet's alone, and the next packet asks again.
#[inline(never)]
fn share<F: Frame>(frame: F, work: &mut Work, next: NextHop) {
    let tos = work.packet.tos;
    let route = &mut work.route;
    let slot = slots::slot(&next, route.hop.mtu);
    // The slot says the same as the lookup did. If the neighbour has changed since that lookup, both are wrong, but then the daemon
    // is about to bump the slot's stamp, and flows with this one resolve their hop again.
    if let Some(stamp) = slots::agrees(slot, &next, &route.hop) {
        route.hop.stamp = stamp;
        return;
    }
    note(next);
    let Some(held) = slots::hold(slot, &next) else { return };
    // The generation must be there before the lookup whose answer it stands for: a change in between would otherwise go
    // unnoticed.
    let (context, fib) = (frame.context(), &mut route.fib);
    let found = match route.by {
        0 => fib::route(context, frame.ingress(), &route.translated, tos, fib),
        by => fib::route_by(context, by, &route.translated, tos, fib),
    };
    if found != Route::Resolved && (found != Route::Unresolved || !has_no_neighbours(next.ifindex)) {
        return slots::abandon(slot, held);
    }
    let again = fib::next_hop(&route.fib);
    // A route that changed between the two lookups belongs to another slot: ask again next time.
    if again.ifindex != next.ifindex || again.addr != next.addr {
        return slots::abandon(slot, held);
    }
    route.hop.macs = macs(&route.fib);
    route.hop.stamp = held;
    slots::fill(slot, held, &route.hop);
}

/// Notes a next hop for the daemon. Out of line: the key's place on the stack is gone again before anybody goes deeper.
#[inline(never)]
fn note(next: NextHop) {
    maps::note_next_hop(&next, clock::now());
}

/// Notes a next hop again that was noted before, one time in [`NOTE_EVERY`]: often enough for the daemon to see that it is still
/// in use.
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
