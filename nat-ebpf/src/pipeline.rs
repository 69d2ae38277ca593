//! What a packet meets, top to bottom.
//!
//! The fast path has no direction: parse, look up, check that the entry is fresh and its hop current, rewrite, send. Everything
//! that takes a decision is a call out of line, on a miss ([`outbound`], [`inbound`]) or for one packet in very many.

use nat_common::{
    EGRESS_KERNEL, FlowEntry, Reason, Side, Stamp, Verdict, handover::Handover, stamp::TOUCH, stats::Meter,
    tcp as flags,
};

use crate::{
    flow::{birth, freshness, revival, state},
    frame::{Frame, Wire, checked_alone},
    hop::{
        slots::{self, Current},
        way::Way,
    },
    kernel::clock,
    mapping, maps, policy,
    report::stats,
    table::{self, EntryRef},
    verdict,
    wire::{
        parse::{self, Headers, Parsed},
        rewrite::{self, TtlStep},
    },
    work::{Work, packet::Packet},
};

/// The body of the XDP programs and of their twins for tc: the action number.
#[inline(always)]
pub fn translate<F: Frame, const SIDE: u8>(frame: F) -> u32 {
    let Some(work) = maps::work() else { return F::DROP };
    match meet::<F, SIDE>(frame, work) {
        Ok(action) => action,
        Err(verdict) => verdict::finish(frame, work, verdict),
    }
}

/// Translates the packet: the action number, or how it ends instead.
#[inline(always)]
fn meet<F: Frame, const SIDE: u8>(frame: F, work: &mut Work) -> Result<u32, Verdict> {
    let headers = match parse::frame(frame, SIDE, work) {
        Parsed::Ipv4(headers) => headers,
        Parsed::Group => {
            policy::group::verdict(frame, work)?;
            return Err(Verdict::drop(Reason::GroupMac));
        }
        Parsed::Ended(verdict) => return Err(verdict),
    };
    let now = clock::now();
    let Some(settings) = maps::settings() else { return Err(Verdict::drop(Reason::Policy)) };
    let known = if work.packet.has_flow() { table::find_at_home(settings, &work.packet.tuple) } else { None };
    let flow = match known {
        Some(flow) if flow.last().is_fresh(now, settings.timeouts.fresh) => flow,
        Some(flow) if freshness::is_alive(&work.packet.tuple, now) => flow,
        _ => {
            (work.now, work.is_known) = (now, known.is_some());
            miss::<F, SIDE>(frame, work)?;
            table::find(&work.packet.tuple).ok_or(Verdict::drop(Reason::NoFlow))?
        }
    };
    hit::<F, SIDE>(frame, work, headers, flow, now)
}

/// No live entry.
#[inline(always)]
fn miss<F: Frame, const SIDE: u8>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    let is_outbound = match SIDE {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => verdict::is_outbound(&work.packet),
    };
    if is_outbound { miss_inside(frame, work) } else { miss_outside(frame, work) }
}

checked_alone! {
    fn miss_inside<F: Frame>(frame, work) -> Result<(), Verdict> = outbound; Xdp as outbound_xdp, Skb as outbound_skb, Ip as outbound_ip
}

checked_alone! {
    fn miss_outside<F: Frame>(frame, work) -> Result<(), Verdict> = inbound; Xdp as inbound_xdp, Skb as inbound_skb, Ip as inbound_ip
}

/// A packet from inside that no live flow claims. `Ok`: its flow exists now.
#[inline(always)]
fn outbound<F: Frame>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    mapping::prefetch(work);
    let pool = policy::outbound::admit(frame, work)?;
    let eip = mapping::choose(work, &pool)?;
    let reach = mapping::uplink::reach(frame, work, eip);
    policy::outbound::route(frame, work, reach)?;
    policy::outbound::may_start(&work.packet)?;
    if revival::take_back(work)? {
        return Ok(());
    }
    mapping::endpoint(frame, work)?;
    birth::pair(frame, work)
}

/// A packet from outside that no live flow claims. `Ok`: its flow exists now.
#[inline(always)]
fn inbound<F: Frame>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    Err(policy::inbound::verdict(frame, work))
}

/// A live entry: translate and send.
#[inline(always)]
fn hit<F: Frame, const SIDE: u8>(
    frame: F,
    work: &mut Work,
    mut headers: Headers,
    flow: EntryRef,
    now: Stamp,
) -> Result<u32, Verdict> {
    let seen = flow.seen();
    let outbound = match SIDE {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => seen & FlowEntry::OUTBOUND != 0,
    };
    // Where there is one inside interface, every packet of a flow came by it, and there is nothing to compare.
    if SIDE == Side::INSIDE && maps::has_several_inside() {
        policy::via::check(frame, work, flow, seen)?;
    }
    let stamp = flow.hop();
    let (way, hop, stamp) = match slots::current(stamp) {
        Some(hop) if is_plain(&work.packet, hop) => (Way::Forward, hop, stamp),
        _ => {
            let way = policy::again::way(frame, work, flow)?;
            (way, Current::own(&raw const work.route.hop), work.route.hop.stamp)
        }
    };
    let ttl = match way {
        Way::Forward | Way::Neighbour => TtlStep::Decrement,
        Way::Handover => TtlStep::Keep,
    };
    if flags::is_event(work.packet.flags, seen) {
        state::observe(frame, work, now);
    }
    let packet = &work.packet;
    let last = flow.last();
    if !last.is_fresh(now, TOUCH) {
        freshness::touch(packet, flow, last, now);
    }
    if !rewrite::translate(frame, &mut headers, packet, flow, ttl) {
        return Err(Verdict::drop(Reason::BadHeader));
    }
    if !flow.is_still(&packet.tuple) {
        return Err(Verdict::drop(Reason::Expired));
    }
    let wire = frame.wire(packet.len);
    flow.count(wire.packets, wire.bytes);
    if way != Way::Forward {
        let action = hand_over(frame, work, way)?;
        forwarded(outbound, wire);
        return Ok(action);
    }
    let egress = hop.egress();
    if !rewrite::set_macs(frame, &headers, hop.macs()) {
        return Err(Verdict::drop(Reason::RedirectError));
    }
    if !hop.is_still(stamp) {
        // Another CPU resolved it anew, or gave its slot away.
        return Err(Verdict::drop(Reason::NoRoute));
    }
    let action = if SIDE == Side::ONEARM && maps::transmits() && maps::ifindex(egress) == frame.ingress() {
        // Only on a one-armed gateway can a packet leave by the interface that it came by: the driver itself sends it (XDP_TX).
        Some(frame.send_back())
    } else if !maps::redirects_frags() && parse::has_frags(frame, &work.packet) {
        frame.send_whole(egress)
    } else {
        frame.send(egress)
    };
    let action = action.ok_or(Verdict::drop(Reason::RedirectError))?;
    forwarded(outbound, wire);
    Ok(action)
}

/// A translated packet that the kernel must do something for.
#[inline(always)]
fn hand_over<F: Frame>(frame: F, work: &Work, way: Way) -> Result<u32, Verdict> {
    let to = if way == Way::Neighbour {
        work.route.next
    } else {
        stats::count(|s| s.handovers += 1);
        Handover::KERNEL
    };
    frame.hand_over(to).ok_or(Verdict::drop(Reason::RedirectError))
}

/// Whether nothing about sending the packet by this hop needs a decision.
#[inline(always)]
fn is_plain(packet: &Packet, hop: Current) -> bool {
    packet.len <= u32::from(hop.mtu()) && packet.ttl > 1 && hop.egress() != EGRESS_KERNEL
}

/// Counts a translated packet: as sent, which implies received (`Stats::sum`).
#[inline(always)]
fn forwarded(outbound: bool, wire: Wire) {
    let sent = if outbound { Meter::DestinationOut } else { Meter::SourceOut };
    stats::count(|s| {
        s.packets[sent as usize] += wire.packets;
        s.bytes[sent as usize] += wire.bytes;
    });
}
