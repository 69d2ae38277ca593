//! A packet from outside that no live flow claims.

use aya_ebpf::programs::XdpContext;
use nat_common::{Port, Proto, Reason, Tuple, Verdict, icmp};

use crate::{
    kernel::clock, kernel::sockets, maps, policy::ping, policy::source, policy::source::Kernel, policy::via,
    table, table::flow, wire::packet, wire::packet::Kind, wire::packet::Packet, work,
};

/// Decides about the packet: to the kernel, or dropped.
#[inline(always)]
pub fn miss(ctx: &XdpContext, packet: &Packet) -> Verdict {
    let Tuple { src, dst, .. } = packet.tuple;
    // An inside address, or an EIP, cannot come from out there (RFC 2827), unless its network is exempt and lies there.
    let exempt = maps::is_exempt(src) && via::is_genuine(ctx);
    if !exempt && (maps::pool(src).is_some() || maps::eip(src).is_some()) {
        return Verdict::drop(Reason::SpoofedSource);
    }
    // Where one wire is both sides, the kernel takes its own addresses for sources too (`accept_local`).
    if maps::is_one_armed() && !via::is_genuine(ctx) {
        return Verdict::drop(Reason::SpoofedSource);
    }
    if let Some(eip) = maps::eip(dst) {
        return if eip.shared != 0 { shared(ctx, packet) } else { Verdict::drop(unwanted(packet)) };
    }
    // A neighbour out there must not route into the inside.
    if maps::pool(dst).is_some() {
        return if exempt { Verdict::PASS } else { Verdict::drop(Reason::UnsolicitedInbound) };
    }
    to_host(ctx, packet)
}

/// natgw made the kernel forward what comes from here. Only what is for this host may go there.
#[inline(always)]
fn to_host(ctx: &XdpContext, packet: &Packet) -> Verdict {
    let ifindex = ctx.ingress_ifindex() as u32;
    let (Some(iface), Some(fib)) = (maps::iface(ifindex), work::fib()) else {
        return Verdict::drop(Reason::Policy);
    };
    // For another interface on this device (macvlan, VRRP); the kernel drops what is for another host's.
    if packet.tuple.dst.is_group() || !flow::is_for_station(iface, packet::dmac(ctx)) {
        return Verdict::PASS;
    }
    match source::kernel(ctx.ctx.cast(), ifindex, iface, &packet.tuple, packet.tos, fib) {
        Kernel::Delivers => Verdict::PASS,
        // An address that the host is being offered is not its own yet. Its DHCP client reads packets before the guard stops
        // this one (RFC 2131 section 4.1: servers may send to that address).
        _ if fib.ifindex == ifindex && is_dhcp_offer(packet) => Verdict::PASS,
        _ => Verdict::drop(Reason::Transit),
    }
}

#[inline(always)]
fn is_dhcp_offer(packet: &Packet) -> bool {
    let Tuple { proto, sport, dport, .. } = packet.tuple;
    packet.kind == Kind::Flow && proto == Proto::Udp as u8 && sport == Port::new(67) && dport == Port::new(68)
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
fn shared(ctx: &XdpContext, packet: &Packet) -> Verdict {
    let wanted = match (packet.kind, Proto::from_number(packet.tuple.proto)) {
        // A first fragment of a flow's datagram must not wake the host's port-unreachable.
        (Kind::FirstFragment, Some(Proto::Tcp | Proto::Udp)) => {
            if table::find(&packet.tuple).is_some() {
                return Verdict::drop(Reason::Fragment);
            }
            is_hosts(ctx, packet)
        }
        // Harmless without its first, which decides.
        (Kind::LaterFragment, _) => true,
        (Kind::IcmpError, _) => {
            let is_clients = |key: &Tuple| !ping::is_hosts(key, clock::now()) && table::find(key).is_some();
            if packet::embedded_reverse(ctx, packet).as_ref().is_some_and(is_clients) {
                return Verdict::drop(Reason::UnsupportedProto);
            }
            true
        }
        (Kind::Flow, Some(Proto::Tcp | Proto::Udp)) => is_hosts(ctx, packet),
        (_, Some(Proto::Icmp)) if packet.icmp_type == icmp::ECHO_REQUEST => {
            maps::settings().is_some_and(|s| s.shared_echo != 0)
        }
        // Timestamps and the like: nothing that a scan should find.
        (Kind::IcmpOther, _) => false,
        // Echo replies to the host's own pings, and protocols without ports: the host's own tunnels.
        _ => true,
    };
    if wanted { Verdict::PASS } else { Verdict::drop(Reason::UnsolicitedInbound) }
}

/// Whether a socket of the host's wants the packet, or the port is reserved for something of the host's without one.
#[inline(always)]
fn is_hosts(ctx: &XdpContext, packet: &Packet) -> bool {
    maps::is_reserved(&packet.tuple) || sockets::holds(ctx.ctx, &packet.tuple)
}
