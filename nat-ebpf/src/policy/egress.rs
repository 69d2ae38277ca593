//! A packet from inside that no live flow claims: policy, and the birth of a flow.

use aya_ebpf::programs::XdpContext;
use nat_common::{
    Addr, Answer, FlowEntry, PoolRef, Proto, Reason, Tuple, Verdict, event::EventKind, hop::Iface,
};

use crate::{
    budget, flow::life, hop::resolve, hop::resolve::Hop, hop::resolve::Reach, mapping::claim,
    mapping::claim::Claimed, maps, pipeline::Missed, pipeline::Way, policy::source, policy::source::Kernel,
    policy::via, report::log, report::stats, table, table::flow, wire::packet, wire::packet::Kind,
    wire::packet::Packet, work,
};

/// Decides about the packet. `Ok`: its flow exists now.
#[inline(always)]
pub fn miss(ctx: &XdpContext, packet: &Packet, missed: &mut Missed) -> Result<(), Verdict> {
    claim::foresee(&packet.tuple);
    let Some(iface) = maps::iface(ctx.ingress_ifindex() as u32) else {
        return Err(Verdict::drop(Reason::Policy));
    };
    let Some(pool) = may_be_translated(ctx, packet, iface)? else {
        return Err(to_host(ctx, packet, iface));
    };
    let eip = claim::begin(&packet.tuple, &pool);
    if eip == Addr::default() {
        return Err(Verdict::drop(Reason::Policy));
    }
    route(ctx, packet, iface, eip)?;
    if !life::may_start(packet) {
        return Err(Verdict::drop(unstartable(packet)));
    }
    if missed.is_known != 0
        && let Some(existing) = table::find(&packet.tuple)
    {
        return life::revive(packet, existing, missed.now);
    }
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        stats::count(|s| s.attempts[proto.index()] += 1);
    }
    missed.via = FlowEntry::via(iface.devmap);
    match claim::claim(ctx) {
        Claimed::Port => created(ctx, packet, missed),
        refusal => Err(refused(packet, refusal, eip)),
    }
}

/// The pool that serves the packet; `None` when the kernel may have it as it is, if it would keep it.
#[inline(always)]
fn may_be_translated(ctx: &XdpContext, packet: &Packet, iface: &Iface) -> Result<Option<PoolRef>, Verdict> {
    let Tuple { src, dst, .. } = packet.tuple;
    // For another interface on this device (macvlan, VRRP); the kernel drops what is for another host's.
    if !flow::is_for_station(iface, packet::dmac(ctx)) {
        return Err(Verdict::PASS);
    }
    let pool = maps::pool(src);
    // An EIP is never in an inside prefix, and nobody inside has one.
    if pool.is_none() && maps::eip(src).is_some() {
        return Err(Verdict::drop(Reason::SpoofedSource));
    }
    // A host that asks for an address has none yet (RFC 2131 section 4.1).
    if src == Addr::default() && dst.is_group() {
        return Err(Verdict::PASS);
    }
    if !via::is_genuine(ctx) {
        return Err(Verdict::drop(Reason::SpoofedSource));
    }
    if dst.is_group() {
        return Err(Verdict::PASS);
    }
    if let Some(own) = maps::eip(dst) {
        // Its own address is the host's to answer on; a dedicated EIP answers nobody.
        return Err(if own.shared != 0 { Verdict::PASS } else { Verdict::drop(Reason::UnsolicitedInbound) });
    }
    match pool {
        Some(_) if maps::is_exempt(dst) => Err(Verdict::PASS),
        Some(_) if dst.is_never_translated() => Ok(None),
        pool => Ok(pool),
    }
}

/// A packet that natgw does not translate: the kernel gets it if it is for this host, and only then.
#[inline(always)]
fn to_host(ctx: &XdpContext, packet: &Packet, iface: &Iface) -> Verdict {
    match kernel(ctx, packet, iface) {
        Kernel::Delivers => Verdict::PASS,
        _ if maps::pool(packet.tuple.src).is_some() => Verdict::drop(Reason::Policy),
        _ => Verdict::drop(Reason::SpoofedSource),
    }
}

/// Where the packet goes once translated, before any port is spent. For this host, for another inside network, or by a way
/// that the host had before natgw, the kernel gets it as it is. The route tells what is inside, for a pool may serve all
/// private prefixes and some of them lie outside; only where the route leaves it open, the next hop and the prefix do.
#[inline(always)]
fn route(ctx: &XdpContext, packet: &Packet, iface: &Iface, eip: Addr) -> Result<(), Verdict> {
    let translated = Tuple { src: eip, ..packet.tuple };
    match resolve::resolve(ctx, translated) {
        // An interface that natgw was not told of, or a neighbour: what natgw's forwarding must not open.
        Reach::Unmanaged | Reach::Neighbour if iface.forwarded == 0 => {
            return Err(Verdict::drop(Reason::Policy));
        }
        Reach::Inside | Reach::Neighbour => return Err(Verdict::PASS),
        Reach::EitherInside | Reach::Unmanaged if maps::pool(packet.tuple.dst).is_some() => {
            return Err(Verdict::PASS);
        }
        Reach::Outside | Reach::Encapsulated | Reach::Either | Reach::EitherInside | Reach::Unmanaged => {}
        // What the kernel would do with the untranslated packet may differ, by policy routing.
        Reach::Host => {
            return Err(match kernel(ctx, packet, iface) {
                Kernel::Delivers => Verdict::PASS,
                _ => Verdict::drop(Reason::NoRoute),
            });
        }
        Reach::Unreachable => return Err(Verdict::answer(Reason::NoRoute, Answer::Unreachable)),
        Reach::Prohibited => return Err(Verdict::answer(Reason::NoRoute, Answer::Prohibited)),
        Reach::Nowhere => return Err(Verdict::drop(Reason::NoRoute)),
    }
    let Some(hop) = work::hop() else { return Err(Verdict::drop(Reason::NoRoute)) };
    match resolve::way_of(packet, hop.mtu, hop.egress) {
        Way::Not(verdict) => Err(verdict),
        Way::Forward | Way::Handover => Ok(()),
    }
}

/// What the kernel would do with the packet as it is.
#[inline(always)]
fn kernel(ctx: &XdpContext, packet: &Packet, iface: &Iface) -> Kernel {
    let Some(fib) = work::fib() else { return Kernel::Opens };
    let ifindex = ctx.ingress_ifindex() as u32;
    source::kernel(ctx.ctx.cast(), ifindex, iface, &packet.tuple, packet.tos, fib)
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
fn created(ctx: &XdpContext, packet: &Packet, missed: &Missed) -> Result<(), Verdict> {
    let (Some(search), Some(hop)) = (work::search(), work::hop()) else {
        return Err(Verdict::drop(Reason::NoFlow));
    };
    if !search.is_own_eip() {
        // Another EIP may leave by another route.
        *hop = Hop::UNRESOLVED;
    }
    log::born(ctx, packet, &search.reverse);
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        search.count(|s| s.births[proto.index()] += 1);
    }
    life::bear(packet, &search.reverse, hop, missed)
}

/// No port, or no room.
#[inline(always)]
fn refused(packet: &Packet, refusal: Claimed, own: Addr) -> Verdict {
    if refusal == Claimed::TableFull {
        return budget::refuse_table_full(packet);
    }
    budget::tell(EventKind::PortExhausted, packet);
    stats::count(|s| s.port_allocation_errors += 1);
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        count_on(own, |s| s.port_allocation_errors[proto.index()] += 1);
    }
    Verdict::drop(Reason::PortExhausted)
}

#[inline(always)]
fn count_on(eip: Addr, f: impl FnOnce(&mut nat_common::stats::EipStats)) {
    if let Some(eip) = maps::eip(eip)
        && let Some(stats) = maps::eip_stats(eip.slot)
    {
        f(stats);
    }
}
