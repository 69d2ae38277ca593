//! The one exit of whatever is not translated: it alone counts, logs, answers, and knows which action a verdict is.
//!
//! Every frame that enters a managed interface ends in exactly one of: a meter of what was sent (`pipeline::forwarded`), a drop
//! reason, or `passed`. What is dropped with its headers read counts as received too.

use nat_common::{Addr, Answer, Side, Verdict, answer, hop::Iface, stats::Meter};

use crate::{
    budget,
    frame::{Frame, checked_alone},
    maps,
    report::{log, stats},
    table,
    wire::{error, reset},
    work::{
        Work,
        packet::{Content, Fragment, Packet},
    },
};

/// RFC 7600 section 4.8: the source of ICMP errors of a router that has no address.
const NO_ADDRESS: Addr = Addr::from_octets([192, 0, 0, 8]);

/// Ends the packet at hand: the action number.
#[inline(always)]
pub fn finish<F: Frame>(frame: F, work: &mut Work, verdict: Verdict) -> u32 {
    end(frame, work, Verdict::number(Err(verdict)))
}

checked_alone! {
    fn end<F: Frame>(frame, work, number: u32) -> u32 = ended; Xdp as verdict_xdp, Skb as verdict_skb, Ip as verdict_ip
}

#[inline(always)]
fn ended<F: Frame>(frame: F, work: &mut Work, number: u32) -> u32 {
    let Err(verdict) = Verdict::from_number(number) else { return F::DROP };
    if !verdict.is_drop() {
        stats::passed(verdict.reason());
        return F::PASS;
    }
    if work.packet.len == 0 {
        stats::dropped(verdict.reason());
        return F::DROP;
    }
    let wire = frame.wire(work.packet.len);
    stats::dropped_packets(verdict.reason(), wire.packets);
    let outbound = was_outbound(&work.packet);
    let meter = if outbound { Meter::SourceIn } else { Meter::DestinationIn };
    stats::received(meter, wire);
    log::refused(frame, &work.packet.tuple, verdict.reason() as u32);
    match verdict.told() {
        Some(answer) => tell(frame, work, answer, outbound),
        None => F::DROP,
    }
}

/// Whether the packet at hand comes from inside: by the side, or by the source where one wire is both.
#[inline(always)]
pub fn is_outbound(packet: &Packet) -> bool {
    match packet.tuple.side {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => maps::pool(packet.tuple.src).is_some(),
    }
}

/// The same for a packet that may belong to a flow: its entry knows better than the source, where destinations have inside
/// addresses too.
#[inline(always)]
fn was_outbound(packet: &Packet) -> bool {
    if maps::is_one_armed()
        && let Some(entry) = table::find(&packet.tuple)
    {
        return entry.is_outbound();
    }
    is_outbound(packet)
}

/// Tells the sender of the packet at hand, in place of it: the action number.
#[inline(always)]
fn tell<F: Frame>(frame: F, work: &mut Work, answer: Answer, outbound: bool) -> u32 {
    let Some(iface) = maps::iface(frame.ingress()) else { return F::DROP };
    if !is_answerable(&work.packet, iface) {
        return F::DROP;
    }
    if !budget::take_answer() {
        stats::count(|s| s.answers_limited += 1);
        return F::DROP;
    }
    let from = match (outbound, iface.inside_addr, iface.outside_addr) {
        (true, addr, _) | (false, _, addr) if addr != Addr::default() => addr,
        (true, ..) => NO_ADDRESS,
        (false, ..) => work.packet.tuple.dst,
    };
    let built = match answer {
        Answer::Reset => reset::build(frame, work, iface.mac),
        _ => error::build(frame, work, answer, from, iface.mac),
    };
    if built.is_none() {
        return F::DROP;
    }
    // Not sent back by the driver itself (XDP_TX): a veth whose peer runs no XDP program counts that as sent and loses it
    // (drivers/net/veth.c, veth_xdp_flush).
    stats::count(|s| s.answers[answer as usize] += 1);
    if iface.side != Side::INSIDE {
        frame.vouch();
    }
    frame.send(iface.devmap).unwrap_or(F::DROP)
}

/// An error is never about an ICMP error, a fragment other than the first, or a sender that is not a single host (RFC 1122
/// section 3.2.2).
#[inline(always)]
fn is_answerable(packet: &Packet, iface: &Iface) -> bool {
    let source = packet.tuple.src;
    !matches!(packet.content, Content::IcmpError)
        && !matches!(packet.fragment, Fragment::Later)
        && answer::may_be_told(source)
        && !iface.broadcasts.contains(&source)
}
