//! A packet from inside that no live flow claims: whether it may be translated, and whether its way allows it.

use nat_common::{Addr, Answer, PassReason, PoolRef, Proto, Reason, Tuple, Verdict, hop::Iface, icmp, tcp};

use super::{
    kernel::{self, Kernel},
    source,
};
use crate::{
    frame::Frame,
    hop::{resolve::Reach, way},
    maps,
    report::stats,
    table,
    work::{
        Work,
        packet::{Content, Fragment, Packet},
    },
};

/// The pool that serves the packet. Whatever the kernel may have untranslated ends here.
#[inline(always)]
pub fn admit<F: Frame>(frame: F, work: &mut Work) -> Result<PoolRef, Verdict> {
    let Some(iface) = maps::iface(frame.ingress()) else { return Err(Verdict::drop(Reason::Policy)) };
    let Tuple { src, dst, .. } = work.packet.tuple;
    // For another interface on this device (macvlan, VRRP); the kernel drops what is for another host's.
    if !kernel::is_for_station(frame, iface) {
        return Err(Verdict::pass(PassReason::OtherStation));
    }
    let pool = maps::pool(src);
    // An EIP is never in an inside prefix, and nobody inside has one.
    if pool.is_none() && maps::eip(src).is_some() {
        return Err(Verdict::drop(Reason::SpoofedSource));
    }
    // A host that asks for an address has none yet (RFC 2131 section 4.1).
    if src == Addr::default() && dst.is_group() {
        return Err(Verdict::pass(PassReason::Dhcp));
    }
    if !source::is_genuine(frame, work) {
        return Err(Verdict::drop(Reason::SpoofedSource));
    }
    if dst.is_group() {
        return Err(Verdict::pass(PassReason::Group));
    }
    if let Some(own) = maps::eip(dst) {
        // A shared EIP is the host's own address, and the host answers there. Behind a dedicated EIP is nobody who could.
        return Err(if own.shared != 0 {
            Verdict::pass(PassReason::HostAddress)
        } else {
            Verdict::drop(Reason::UnsolicitedInbound)
        });
    }
    match pool {
        Some(_) if maps::is_exempt(dst) => Err(Verdict::pass(PassReason::Exempt)),
        Some(pool) if !dst.is_never_translated() => Ok(pool),
        _ => Err(to_host(frame, work, iface)),
    }
}

/// A packet that natgw does not translate: the kernel gets it if it is for this host, and only then.
#[inline(always)]
fn to_host<F: Frame>(frame: F, work: &mut Work, iface: &Iface) -> Verdict {
    match would_do(frame, work, iface) {
        Kernel::Delivers => Verdict::pass(PassReason::ToHost),
        _ if maps::pool(work.packet.tuple.src).is_some() => Verdict::drop(Reason::Policy),
        _ => Verdict::drop(Reason::SpoofedSource),
    }
}

/// What the kernel would do with the packet as it is.
#[inline(always)]
fn would_do<F: Frame>(frame: F, work: &mut Work, iface: &Iface) -> Kernel {
    let Packet { tuple, tos, .. } = work.packet;
    kernel::does(frame, frame.ingress(), iface, &tuple, tos, &mut work.route.fib)
}

/// Whether a packet may go where it would once its source is an EIP of its own, before any port is spent; `work.route` is filled.
///
/// For this host, for another inside network, or by a way that the host had before natgw, the kernel gets the packet as it is.
/// The route tells what is inside, for a pool may serve all private prefixes and some of them lie outside; only where the
/// route leaves it open, the next hop and the prefix do.
#[inline(always)]
pub fn route<F: Frame>(frame: F, work: &mut Work, reach: Reach) -> Result<(), Verdict> {
    let Some(iface) = maps::iface(frame.ingress()) else { return Err(Verdict::drop(Reason::Policy)) };
    match reach {
        // To an interface that natgw was not told of, or to a neighbour on the same wire. The host forwarded nothing that comes by
        // this interface before natgw turned forwarding on, and natgw must not open such ways.
        Reach::Unmanaged | Reach::Neighbour if iface.forwarded == 0 => {
            return Err(Verdict::drop(Reason::Policy));
        }
        Reach::Inside | Reach::Neighbour => return Err(Verdict::pass(PassReason::Inside)),
        Reach::EitherInside | Reach::Unmanaged if maps::pool(work.packet.tuple.dst).is_some() => {
            return Err(Verdict::pass(PassReason::Inside));
        }
        Reach::Outside | Reach::Encapsulated | Reach::Either | Reach::EitherInside | Reach::Unmanaged => {}
        // The route was asked for with the EIP as source. The kernel would get the packet with its own source, for which a rule may
        // name another route: so it is asked again.
        Reach::Host => {
            return Err(match would_do(frame, work, iface) {
                Kernel::Delivers => Verdict::pass(PassReason::ToHost),
                _ => Verdict::drop(Reason::NoRoute),
            });
        }
        Reach::Unreachable => return Err(Verdict::answer(Reason::NoRoute, Answer::Unreachable)),
        Reach::Prohibited => return Err(Verdict::answer(Reason::NoRoute, Answer::Prohibited)),
        Reach::Nowhere => return Err(Verdict::drop(Reason::NoRoute)),
        Reach::Astray => {
            stats::count(|s| s.wrong_link += 1);
            return Err(Verdict::drop(Reason::NoRoute));
        }
    }
    way::of(work).map(|_| ())
}

/// Whether a packet from inside may start a flow.
#[inline(always)]
pub fn may_start(packet: &Packet) -> Result<(), Verdict> {
    if packet.has_flow() {
        let may = match Proto::from_number(packet.tuple.proto) {
            Some(Proto::Tcp) => tcp::may_open(packet.flags),
            Some(Proto::Udp) => true,
            Some(Proto::Icmp) => packet.icmp_type == icmp::ECHO_REQUEST,
            None => false,
        };
        if may {
            return Ok(());
        }
    }
    Err(Verdict::drop(unstartable(packet)))
}

/// Why a packet may not start a flow.
#[inline(always)]
fn unstartable(packet: &Packet) -> Reason {
    match (packet.fragment, packet.content) {
        (Fragment::Later, _) | (Fragment::First, Content::Flow) => Reason::Fragment,
        (_, Content::IcmpError | Content::IcmpOther | Content::Other) => Reason::UnsupportedProto,
        (Fragment::Whole, Content::Flow) if table::find(&packet.tuple).is_some() => Reason::Expired,
        (Fragment::Whole, Content::Flow) => Reason::NoFlow,
    }
}
