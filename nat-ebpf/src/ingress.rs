//! A packet from outside that no live flow claims.

use aya_ebpf::programs::XdpContext;
use nat_common::{Proto, Reason, Tuple, icmp, stats::Meter};

use crate::{
    host, log, maps,
    packet::{self, Kind, Packet},
    stats, table,
};

/// Decides about the packet; an XDP action.
#[inline(always)]
pub fn miss(ctx: &XdpContext, packet: &Packet) -> u32 {
    let Tuple { src, dst, .. } = packet.tuple;
    if dst.is_never_translated() {
        return stats::pass();
    }
    let exempt = maps::is_exempt(src);
    // An inside address, or an EIP, cannot come from out there (RFC 2827).
    if !exempt && (maps::pool(src).is_some() || maps::eip(src).is_some()) {
        return refuse(ctx, packet, Reason::SpoofedSource);
    }
    if let Some(eip) = maps::eip(dst) {
        return if eip.shared != 0 { shared(ctx, packet) } else { refuse(ctx, packet, unwanted(packet)) };
    }
    // A neighbour out there must not route into the inside.
    if !exempt && maps::pool(dst).is_some() {
        return refuse(ctx, packet, Reason::UnsolicitedInbound);
    }
    stats::pass()
}

/// To a dedicated EIP.
#[inline(always)]
fn unwanted(packet: &Packet) -> Reason {
    match packet.kind {
        Kind::FirstFragment | Kind::LaterFragment => Reason::Fragment,
        Kind::OtherProto | Kind::IcmpError | Kind::IcmpOther => Reason::UnsupportedProto,
        Kind::Flow if table::find(&packet.tuple).is_some() => Reason::Expired,
        Kind::Flow => Reason::UnsolicitedInbound,
    }
}

/// To the host's own address: the host gets what it has a socket for, and answers nothing else.
#[inline(always)]
fn shared(ctx: &XdpContext, packet: &Packet) -> u32 {
    let wanted = match (packet.kind, Proto::from_number(packet.tuple.proto)) {
        // A first fragment of a flow's datagram must not wake the host's port-unreachable.
        (Kind::FirstFragment, Some(Proto::Tcp | Proto::Udp)) => {
            if table::find(&packet.tuple).is_some() {
                return refuse(ctx, packet, Reason::Fragment);
            }
            host::holds(ctx.ctx, &packet.tuple)
        }
        // Harmless without its first, which decides.
        (Kind::LaterFragment, _) => true,
        (Kind::IcmpError, _) => {
            if packet::embedded_reverse(ctx, packet).is_some_and(|key| table::find(&key).is_some()) {
                return refuse(ctx, packet, Reason::UnsupportedProto);
            }
            true
        }
        (Kind::Flow, Some(Proto::Tcp | Proto::Udp)) => host::holds(ctx.ctx, &packet.tuple),
        (_, Some(Proto::Icmp)) if packet.icmp_type == icmp::ECHO_REQUEST => {
            maps::settings().is_some_and(|s| s.shared_echo != 0)
        }
        // Timestamps and the like: nothing that a scan should find.
        (Kind::IcmpOther, _) => false,
        // Echo replies to the host's own pings, and protocols without ports: the host's own tunnels.
        _ => true,
    };
    if wanted { stats::pass() } else { refuse(ctx, packet, Reason::UnsolicitedInbound) }
}

/// Drops a packet that came for an EIP or the inside.
#[inline(never)]
fn refuse(ctx: &XdpContext, packet: &Packet, reason: Reason) -> u32 {
    log::refused(ctx, packet, reason);
    stats::received(Meter::DestinationIn, u64::from(packet.len));
    stats::drop(reason)
}
