//! The fast path: what a packet of a known flow meets. It has no direction.
//!
//! parse, look up, check that the entry is fresh and its hop current, rewrite, send. Everything that takes a
//! decision is a call out of line, on a miss or for one packet in very many.

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_TX},
        xdp_md,
    },
    programs::XdpContext,
};
use nat_common::{
    EGRESS_KERNEL, FlowEntry, Reason, Side, Stamp, Verdict, stamp::TOUCH, stats::Meter, tcp as flags,
};

use crate::{
    flow::life, flow::tcp, hop::handover, hop::resolve, hop::slots, hop::slots::Current, kernel::clock, maps,
    policy::egress, policy::group, policy::ingress, policy::via, report::stats, table, table::flow::Flow,
    verdict, wire::packet, wire::packet::Headers, wire::packet::Kind, wire::packet::Packet,
    wire::packet::Parsed, wire::packet::TtlStep, work,
};

/// What the slow path is told beside the packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Missed {
    /// What time it is.
    pub now: Stamp,
    /// 1: the tuple has an entry, of a flow that is past its deadline.
    pub is_known: u32,
    /// The interface by which a flow comes that the packet starts, as in an entry's `seen`.
    pub via: u32,
}

/// Where a hit goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out of a managed interface, by natgw.
    Forward,
    /// Translated, to the kernel.
    Handover,
    /// Not translated.
    Not(Verdict),
}

/// The body of the three XDP programs.
#[inline(always)]
pub fn translate<const SIDE: u8>(ctx: &XdpContext) -> u32 {
    let Some(packet) = work::packet() else { return XDP_DROP };
    let headers = match packet::parse(ctx, SIDE, packet) {
        Parsed::Ipv4(headers) => headers,
        Parsed::BadHeader => return verdict::unparsed(Reason::BadHeader),
        Parsed::SourceRoute => {
            let outbound = is_from_inside::<SIDE>(packet);
            return verdict::finish(ctx, outbound, Verdict::drop(Reason::SourceRoute));
        }
        Parsed::Group(addresses) => return group::decide(ctx, addresses),
        Parsed::Ended(action) => return action,
    };
    let now = clock::now();
    let Some(settings) = maps::settings() else { return XDP_DROP };
    let known = if packet.kind == Kind::Flow { table::find_at_home(settings, &packet.tuple) } else { None };
    let flow = match known {
        Some(flow) if flow.last().is_fresh(now, settings.timeouts.fresh) || life::is_alive(now) => flow,
        _ => {
            let outbound = is_from_inside::<SIDE>(packet);
            if let Err(verdict) = miss(ctx, outbound, known, now) {
                return verdict::finish(ctx, outbound, verdict);
            }
            match table::find(&packet.tuple) {
                Some(flow) => flow,
                None => return verdict::finish(ctx, outbound, Verdict::drop(Reason::NoFlow)),
            }
        }
    };
    hit::<SIDE>(ctx, packet, &headers, flow, now)
}

/// Whether a packet without a flow comes from inside: by the side, or by the source where one wire is both.
#[inline(always)]
fn is_from_inside<const SIDE: u8>(packet: &Packet) -> bool {
    match SIDE {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => maps::pool(packet.tuple.src).is_some(),
    }
}

/// No live entry.
#[inline(always)]
fn miss(ctx: &XdpContext, outbound: bool, known: Option<Flow>, now: Stamp) -> Result<(), Verdict> {
    if let Some(missed) = work::missed() {
        *missed = Missed { now, is_known: u32::from(known.is_some()), via: 0 };
    }
    Verdict::from_number(if outbound { miss_inside(ctx.ctx) } else { miss_outside(ctx.ctx) })
}

// Global functions, which the verifier checks once and by themselves (see `table.rs`), instead of from every path of the
// fast path that leads here. What they work on is in the scratch space.

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn miss_inside(ctx: *mut xdp_md) -> u32 {
    let (Some(packet), Some(missed)) = (work::packet(), work::missed()) else {
        return Verdict::number(Err(Verdict::drop(Reason::NoFlow)));
    };
    Verdict::number(egress::miss(&XdpContext::new(ctx), packet, missed))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn miss_outside(ctx: *mut xdp_md) -> u32 {
    let Some(packet) = work::packet() else {
        return Verdict::number(Err(Verdict::drop(Reason::NoFlow)));
    };
    Verdict::number(Err(ingress::miss(&XdpContext::new(ctx), packet)))
}

/// A live entry: translate and send.
#[inline(always)]
fn hit<const SIDE: u8>(ctx: &XdpContext, packet: &Packet, headers: &Headers, flow: Flow, now: Stamp) -> u32 {
    let seen = flow.seen();
    let outbound = match SIDE {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => seen & FlowEntry::OUTBOUND != 0,
    };
    // With one inside interface every packet of a flow came by it.
    if SIDE == Side::INSIDE
        && maps::has_several_inside()
        && let Err(verdict) = via::check(ctx, flow, seen)
    {
        return verdict::finish(ctx, outbound, verdict);
    }
    let stamp = flow.hop();
    let (way, hop, stamp) = match slots::current(stamp) {
        Some(hop)
            if packet.len <= u32::from(hop.mtu()) && packet.ttl > 1 && hop.egress() != EGRESS_KERNEL =>
        {
            (Way::Forward, hop, stamp)
        }
        _ => {
            let way = resolve::way(ctx, packet, flow);
            let Some(own) = work::hop() else { return XDP_DROP };
            (way, Current::own(own), own.stamp)
        }
    };
    let way = match way {
        Way::Forward if !maps::redirects_frags() && packet::has_frags(ctx, packet) => Way::Handover,
        way => way,
    };
    let ttl = match way {
        Way::Forward => TtlStep::Decrement,
        Way::Handover => TtlStep::Keep,
        Way::Not(verdict) => return verdict::finish(ctx, outbound, verdict),
    };
    if flags::is_event(packet.flags, seen) {
        tcp::observe(ctx, now);
    }
    let last = flow.last();
    if !last.is_fresh(now, TOUCH) {
        life::touch(packet, flow, last, now);
    }
    if !packet::rewrite(headers, packet, flow, ttl) {
        return verdict::finish(ctx, outbound, Verdict::drop(Reason::BadHeader));
    }
    if !flow.is_still(&packet.tuple) {
        return verdict::finish(ctx, outbound, Verdict::drop(Reason::Expired));
    }
    flow.count(u64::from(packet.len));
    if matches!(way, Way::Handover) {
        if !handover::mark(ctx) {
            return verdict::finish(ctx, outbound, Verdict::drop(Reason::RedirectError));
        }
        forwarded(outbound, u64::from(packet.len));
        return handover::to_kernel();
    }
    let egress = hop.egress();
    packet::set_macs(headers, hop.macs());
    if !hop.is_still(stamp) {
        // Another CPU resolved it anew, or gave its slot away.
        return verdict::finish(ctx, outbound, Verdict::drop(Reason::NoRoute));
    }
    let action = if SIDE == Side::ONEARM && maps::ifindex(egress) == ctx.ingress_ifindex() as u32 {
        // Only one-armed can a hop be the interface that the packet came from.
        XDP_TX
    } else {
        match maps::redirect(egress) {
            Ok(action) => action,
            Err(_) => return verdict::finish(ctx, outbound, Verdict::drop(Reason::RedirectError)),
        }
    };
    forwarded(outbound, u64::from(packet.len));
    action
}

/// Counts a translated packet: as sent, which implies received (`Stats::sum`).
#[inline(always)]
fn forwarded(outbound: bool, bytes: u64) {
    let sent = if outbound { Meter::DestinationOut } else { Meter::SourceOut };
    stats::count(|s| {
        s.packets[sent as usize] += 1;
        s.bytes[sent as usize] += bytes;
    });
}
