//! A packet from inside that no live flow claims: policy, and the birth of a flow.

use aya_ebpf::programs::XdpContext;
use nat_common::{Addr, Proto, Reason, Stamp, Tuple, event::EventKind, stats::Meter};

use crate::{
    budget,
    claim::{self, Claimed},
    fast::{Missed, Slow, Way},
    flow,
    hop::{self, Hop, Reach},
    life, log, maps,
    packet::{self, Kind, Packet},
    scratch, stats, table,
};

/// Decides about the packet.
#[inline(always)]
pub fn miss(ctx: &XdpContext, packet: &Packet, missed: &Missed) -> Slow {
    let Tuple { src, dst, .. } = packet.tuple;
    claim::foresee(&packet.tuple);
    let Some(hop) = scratch::hop() else { return stats::pass() };
    if !is_for_translation(ctx, packet) {
        return stats::pass();
    }
    if let Some(own) = maps::eip(dst) {
        // Its own address is the host's to answer on; a dedicated EIP answers nobody.
        return if own.shared != 0 { stats::pass() } else { refuse(ctx, packet, Reason::UnsolicitedInbound) };
    }
    let Some(pool) = maps::pool(src) else { return unserved(ctx, packet, hop) };
    let eip = claim::begin(&packet.tuple, &pool);
    if eip == Addr::default() {
        return refuse(ctx, packet, Reason::Policy);
    }
    let translated = Tuple { src: eip, ..packet.tuple };
    // For this host, for another inside network, or nowhere: the kernel delivers, routes or answers. The route
    // tells what is inside, for a pool may serve all private prefixes and some of them lie outside; only where
    // the route leaves it open, the prefix does.
    match hop::resolve(ctx, packet, &translated, hop) {
        Reach::Inside | Reach::Host => return stats::pass(),
        Reach::Either if maps::pool(dst).is_some() => return stats::pass(),
        Reach::Outside | Reach::Either => {}
    }
    if let Way::Not(action) = hop::way_of(packet, true, hop.mtu, hop.egress) {
        return action;
    }
    if !life::may_start(packet) {
        return refuse(ctx, packet, unstartable(packet));
    }
    if missed.is_known != 0
        && let Some(existing) = table::find(&packet.tuple)
    {
        return life::revive(packet, existing, missed.now);
    }
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        stats::count(|s| s.attempts[proto.index()] += 1);
    }
    match claim::claim(ctx, missed.now) {
        Claimed::Port => created(ctx, packet, hop, missed.now),
        refusal => refused(ctx, packet, refusal, eip),
    }
}

/// Whether the destination may be translated at all: not multicast and the like, not exempt; and the frame was
/// sent to this station.
#[inline(always)]
fn is_for_translation(ctx: &XdpContext, packet: &Packet) -> bool {
    let dst = packet.tuple.dst;
    if dst.is_never_translated() || maps::is_exempt(dst) {
        return false;
    }
    maps::iface(ctx.ingress_ifindex() as u32).is_some_and(|i| flow::is_for_station(&i, packet::dmac(ctx)))
}

/// No pool serves the source. What it sends to this host is the host's business; the rest goes nowhere.
#[inline(always)]
fn unserved(ctx: &XdpContext, packet: &Packet, hop: &mut Hop) -> u32 {
    if maps::eip(packet.tuple.src).is_none() && hop::resolve(ctx, packet, &packet.tuple, hop) == Reach::Host {
        return stats::pass();
    }
    refuse(ctx, packet, Reason::SpoofedSource)
}

/// Why a packet may not start a flow.
#[inline(always)]
fn unstartable(packet: &Packet) -> Reason {
    match packet.kind {
        Kind::FirstFragment | Kind::LaterFragment => Reason::Fragment,
        Kind::IcmpError | Kind::IcmpOther | Kind::OtherProto => Reason::UnsupportedProto,
        Kind::Flow if table::find(&packet.tuple).is_some() => Reason::Expired,
        Kind::Flow => Reason::NoFlow,
    }
}

/// The port is claimed: the forward entry completes the pair.
#[inline(always)]
fn created(ctx: &XdpContext, packet: &Packet, hop: &mut Hop, now: Stamp) -> Slow {
    let Some(search) = scratch::search() else { return stats::pass() };
    if !search.is_own_eip() {
        // Another EIP may leave by another route.
        *hop = Hop::UNRESOLVED;
    }
    log::born(ctx, packet, &search.reverse);
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        search.count(|s| s.births[proto.index()] += 1);
    }
    life::bear(packet, &search.reverse, hop, now)
}

/// No port, or no room.
#[inline(always)]
fn refused(ctx: &XdpContext, packet: &Packet, refusal: Claimed, own: Addr) -> Slow {
    if refusal == Claimed::TableFull {
        received(packet);
        return budget::refuse_table_full(packet);
    }
    budget::tell(EventKind::PortExhausted, packet);
    stats::count(|s| s.port_allocation_errors += 1);
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        count_on(own, |s| s.port_allocation_errors[proto.index()] += 1);
    }
    refuse(ctx, packet, Reason::PortExhausted)
}

#[inline(always)]
fn count_on(eip: Addr, f: impl FnOnce(&mut nat_common::stats::EipStats)) {
    if let Some(eip) = maps::eip(eip)
        && let Some(stats) = maps::eip_stats(eip.slot)
    {
        f(stats);
    }
}

#[inline(always)]
fn received(packet: &Packet) {
    stats::received(Meter::SourceIn, u64::from(packet.len));
}

/// Drops a packet that clients sent to be translated.
#[inline(never)]
fn refuse(ctx: &XdpContext, packet: &Packet, reason: Reason) -> u32 {
    received(packet);
    log::refused(ctx, packet, reason);
    stats::drop(reason)
}
