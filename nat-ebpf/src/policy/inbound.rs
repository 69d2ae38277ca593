//! A packet from outside that no live flow claims: to the kernel, or dropped.

use nat_common::{Eip, PassReason, Port, Proto, Reason, Tuple, Verdict, hop::Iface, icmp};

use super::{
    kernel::{self, Kernel},
    own_nat, own_pings, source,
};
use crate::{
    frame::Frame,
    kernel::{clock, sockets},
    maps, table,
    wire::embedded::Embedded,
    work::{
        Work,
        packet::{Content, Fragment, Packet},
    },
};

/// How the packet ends.
#[inline(always)]
pub fn verdict<F: Frame>(frame: F, work: &mut Work) -> Verdict {
    let Tuple { src, dst, .. } = work.packet.tuple;
    // An inside address, or an EIP, cannot come from out there (RFC 2827), unless its network is exempt and lies there.
    let exempt = maps::is_exempt(src) && source::is_genuine(frame, work);
    if !exempt && (maps::pool(src).is_some() || maps::eip(src).is_some()) {
        return Verdict::drop(Reason::SpoofedSource);
    }
    // A one-armed gateway has `accept_local` set: the kernel would take a packet from outside that has one of the host's own
    // addresses for its source.
    if maps::is_one_armed() && !source::is_genuine(frame, work) {
        return Verdict::drop(Reason::SpoofedSource);
    }
    if let Some(eip) = maps::eip(dst) {
        return if eip.shared != 0 {
            shared(frame, &work.packet, &eip)
        } else {
            Verdict::drop(unwanted(&work.packet))
        };
    }
    // A neighbour out there must not route into the inside.
    if maps::pool(dst).is_some() {
        return if exempt {
            Verdict::pass(PassReason::Exempt)
        } else {
            Verdict::drop(Reason::UnsolicitedInbound)
        };
    }
    let Some(iface) = maps::iface(frame.ingress()) else { return Verdict::drop(Reason::Policy) };
    to_host(frame, work, iface)
}

/// natgw made the kernel forward what comes from here. Only what is for this host may go there.
#[inline(always)]
fn to_host<F: Frame>(frame: F, work: &mut Work, iface: &Iface) -> Verdict {
    let Packet { tuple, tos, .. } = work.packet;
    // For another interface on this device (macvlan, VRRP); the kernel drops what is for another host's.
    if !kernel::is_for_station(frame, iface) {
        return Verdict::pass(PassReason::OtherStation);
    }
    if tuple.dst.is_group() {
        return Verdict::pass(PassReason::Group);
    }
    let ifindex = frame.ingress();
    match kernel::does(frame, ifindex, iface, &tuple, tos, &mut work.route.fib) {
        Kernel::Delivers => Verdict::pass(PassReason::ToHost),
        // An address that the host is being offered is not its own yet. Its DHCP client reads packets before the guard stops
        // this one (RFC 2131 section 4.1: servers may send to that address).
        _ if work.route.fib.ifindex == ifindex && is_dhcp_offer(&work.packet) => {
            Verdict::pass(PassReason::Dhcp)
        }
        _ => Verdict::drop(Reason::Transit),
    }
}

#[inline(always)]
fn is_dhcp_offer(packet: &Packet) -> bool {
    let Tuple { proto, sport, dport, .. } = packet.tuple;
    packet.has_flow() && proto == Proto::Udp as u8 && sport == Port::new(67) && dport == Port::new(68)
}

/// Why a packet to a dedicated EIP is dropped.
#[inline(always)]
fn unwanted(packet: &Packet) -> Reason {
    match (packet.fragment, packet.content) {
        (Fragment::Later, _) | (Fragment::First, Content::Flow) => Reason::Fragment,
        (_, Content::IcmpError | Content::IcmpOther | Content::Other) => Reason::UnsupportedProto,
        (Fragment::Whole, Content::Flow) if table::find(&packet.tuple).is_some() => Reason::Expired,
        (Fragment::Whole, Content::Flow) => Reason::UnsolicitedInbound,
    }
}

/// A packet to the host's own address: the host gets what it has a socket for, and answers nothing else.
#[inline(always)]
fn shared<F: Frame>(frame: F, packet: &Packet, eip: &Eip) -> Verdict {
    let passed_if = |wanted: bool, reason: PassReason| {
        if wanted { Verdict::pass(reason) } else { Verdict::drop(Reason::UnsolicitedInbound) }
    };
    match (packet.fragment, packet.content, Proto::from_number(packet.tuple.proto)) {
        // The host can do nothing with it unless it gets the first fragment too, about which is decided below.
        (Fragment::Later, ..) => Verdict::pass(PassReason::HostFragment),
        (_, Content::IcmpError, _) if is_about_a_client(frame, packet) => {
            Verdict::drop(Reason::UnsupportedProto)
        }
        (_, Content::IcmpError, _) => Verdict::pass(PassReason::HostError),
        // A fragment of a client's datagram, which natgw does not translate. The host has no socket for it, and must not answer it
        // with "port unreachable".
        (Fragment::First, Content::Flow, Some(Proto::Tcp | Proto::Udp))
            if table::find(&packet.tuple).is_some() =>
        {
            Verdict::drop(Reason::Fragment)
        }
        (_, Content::Flow, Some(Proto::Tcp | Proto::Udp)) => {
            if has_socket(frame, packet) {
                return Verdict::pass(PassReason::HostSocket);
            }
            passed_if(is_translated_by_host(frame, packet, eip), PassReason::HostNat)
        }
        (_, _, Some(Proto::Icmp)) if packet.icmp_type == icmp::ECHO_REQUEST => {
            passed_if(maps::settings().is_some_and(|s| s.shared_echo != 0), PassReason::HostEcho)
        }
        // ICMP timestamp requests and the like: the host would answer, and a scan would find it.
        (_, Content::IcmpOther, _) => Verdict::drop(Reason::UnsolicitedInbound),
        // Answers to the host's own pings.
        (_, Content::Flow, _) => Verdict::pass(PassReason::HostEcho),
        // The host's own tunnels.
        (_, Content::Other, _) => Verdict::pass(PassReason::HostProtocol),
    }
}

/// Whether a socket of the host's wants the packet, or the port is reserved for something of the host's without one.
#[inline(always)]
fn has_socket<F: Frame>(frame: F, packet: &Packet) -> bool {
    maps::is_reserved(&packet.tuple) || sockets::holds(frame.context(), &packet.tuple)
}

/// Whether the packet is of a connection that the host translates for others. Where its connection tracking cannot be asked, every
/// port is the host's that natgw never takes: there, the host is what it would be without natgw.
#[inline(always)]
fn is_translated_by_host<F: Frame>(frame: F, packet: &Packet, eip: &Eip) -> bool {
    own_nat::is_hosts(frame, &packet.tuple)
        || maps::has_silent_conntrack() && !eip.ports.contains(packet.tuple.dport)
}

/// Whether an ICMP error is about a flow of a client's, and not about a ping of the host's own.
#[inline(always)]
fn is_about_a_client<F: Frame>(frame: F, packet: &Packet) -> bool {
    let Some(embedded) = Embedded::of(frame, packet) else { return false };
    let answer = embedded.answer();
    !own_pings::is_hosts(&answer, clock::now()) && table::find(&answer).is_some()
}
