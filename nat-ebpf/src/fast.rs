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
use nat_common::{EGRESS_KERNEL, Reason, Side, Stamp, stamp::TOUCH, stats::Meter, tcp as flags};

use crate::{
    clock, egress,
    flow::Flow,
    handover, hop,
    hops::{self, Current},
    ingress, life, maps,
    packet::{self, Headers, Kind, Packet, Parsed, TtlStep},
    scratch, stats, table, tcp,
};

/// What the slow path decided: an XDP action, or [`HIT`].
pub type Slow = u32;

/// The flow exists now: go on as a hit.
pub const HIT: Slow = u32::MAX;

/// What the slow path is told beside the packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Missed {
    /// What time it is.
    pub now: Stamp,
    /// 1: the tuple has an entry, of a flow that is past its deadline.
    pub is_known: u32,
}

/// Where a hit goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out of a managed interface, by natgw.
    Forward,
    /// Translated, to the kernel.
    Handover,
    /// Not translated: dropped, or to the kernel for its ICMP error. An XDP action.
    Not(u32),
}

/// The body of the three XDP programs.
#[inline(always)]
pub fn translate<const SIDE: u8>(ctx: &XdpContext) -> u32 {
    let Some(packet) = scratch::packet() else { return stats::pass() };
    let headers = match packet::parse(ctx, SIDE, packet) {
        Parsed::Ipv4(headers) => headers,
        Parsed::Foreign => return stats::pass(),
        Parsed::BadHeader => return stats::drop(Reason::BadHeader),
        Parsed::TaggedIpv4(src) => {
            return if maps::pool(src).is_some() { stats::drop(Reason::Vlan) } else { stats::pass() };
        }
    };
    let now = clock::now();
    let Some(settings) = maps::settings() else { return stats::pass() };
    let known = if packet.kind == Kind::Flow { table::find_at_home(settings, &packet.tuple) } else { None };
    let flow = match known {
        Some(flow) if flow.last().is_fresh(now, settings.timeouts.fresh) || life::is_alive(now) => flow,
        _ => match miss::<SIDE>(ctx, packet, known, now) {
            HIT => match table::find(&packet.tuple) {
                Some(flow) => flow,
                None => return stats::drop(Reason::NoFlow),
            },
            action => return action,
        },
    };
    hit::<SIDE>(ctx, packet, &headers, flow, now)
}

/// No live entry: decide by the side, or by the source where one wire is both.
#[inline(always)]
fn miss<const SIDE: u8>(ctx: &XdpContext, packet: &Packet, known: Option<Flow>, now: Stamp) -> Slow {
    if let Some(missed) = scratch::missed() {
        *missed = Missed { now, is_known: u32::from(known.is_some()) };
    }
    match SIDE {
        Side::INSIDE => miss_inside(ctx.ctx),
        Side::OUTSIDE => miss_outside(ctx.ctx),
        _ if maps::pool(packet.tuple.src).is_some() => miss_inside(ctx.ctx),
        _ => miss_outside(ctx.ctx),
    }
}

// Global functions, which the verifier checks once and by themselves (see `table.rs`), instead of from every path of the
// fast path that leads here. What they work on is in the scratch space.

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn miss_inside(ctx: *mut xdp_md) -> Slow {
    let (Some(packet), Some(missed)) = (scratch::packet(), scratch::missed()) else { return XDP_DROP };
    egress::miss(&XdpContext::new(ctx), packet, missed)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn miss_outside(ctx: *mut xdp_md) -> Slow {
    let Some(packet) = scratch::packet() else { return XDP_DROP };
    ingress::miss(&XdpContext::new(ctx), packet)
}

/// A live entry: translate and send.
#[inline(always)]
fn hit<const SIDE: u8>(ctx: &XdpContext, packet: &Packet, headers: &Headers, flow: Flow, now: Stamp) -> u32 {
    let stamp = flow.hop();
    let (way, hop, stamp) = match hops::current(stamp) {
        Some(hop)
            if packet.len <= u32::from(hop.mtu()) && packet.ttl > 1 && hop.egress() != EGRESS_KERNEL =>
        {
            (Way::Forward, hop, stamp)
        }
        _ => {
            let way = hop::way(ctx, packet, flow);
            let Some(own) = scratch::hop() else { return stats::drop(Reason::NoRoute) };
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
        Way::Not(action) => return action,
    };
    let seen = flow.seen();
    if flags::is_event(packet.flags, seen) {
        tcp::observe(ctx, now);
    }
    let last = flow.last();
    if !last.is_fresh(now, TOUCH) {
        life::touch(packet, flow, last, now);
    }
    if !packet::rewrite(headers, packet, flow, ttl) {
        return stats::drop(Reason::BadHeader);
    }
    if !flow.is_still(&packet.tuple) {
        return stats::drop(Reason::Expired);
    }
    flow.count(u64::from(packet.len));
    let outbound = match SIDE {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => seen & nat_common::FlowEntry::OUTBOUND != 0,
    };
    forwarded(outbound, u64::from(packet.len));
    if matches!(way, Way::Handover) {
        return handover::to_kernel(ctx, outbound);
    }
    let egress = hop.egress();
    packet::set_macs(headers, hop.macs());
    if !hop.is_still(stamp) {
        // Another CPU resolved it anew, or gave its slot away.
        return stats::drop(Reason::NoRoute);
    }
    // Only one-armed can a hop be the interface that the packet came from.
    if SIDE == Side::ONEARM && maps::ifindex(egress) == ctx.ingress_ifindex() as u32 {
        return XDP_TX;
    }
    match maps::redirect(egress) {
        Ok(action) => action,
        Err(_) => stats::drop(Reason::RedirectError),
    }
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
