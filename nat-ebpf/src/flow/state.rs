//! A packet that shows something new about its flow's state: first of its kind, opening, closing, or going on after a
//! close. What it changes is `nat_common::tcp`'s to say; here it is done.

use nat_common::{
    FlowEntry, Proto, Stamp,
    tcp::{ANY, LASTS, Phase, Segment},
};

use crate::{
    frame::{View, checked_alone},
    report::stats,
    table::{self, EntryRef},
    wire::parse,
    work::{Work, packet::Packet},
};

/// Records what the packet at hand shows about its flow. Out of line: a handful of packets per connection come here, and all
/// of a side that has sent FIN.
#[inline(always)]
pub fn observe<V: View>(frame: V, work: &mut Work, now: Stamp) {
    observe_at(frame, work, now.word);
}

checked_alone! {
    fn observe_at<V: View>(frame, work, now: u32) -> bool = look; Xdp as state_xdp, Skb as state_skb, Ip as state_ip
}

/// The body of `observe_at`, which the verifier checks by itself: such a function takes no `EntryRef`, so it looks the flow up
/// again.
#[inline(always)]
fn look<V: View>(frame: V, work: &mut Work, now: u32) -> bool {
    let packet = &work.packet;
    if let Some(flow) = table::find(&packet.tuple) {
        record(frame, packet, flow, Stamp { word: now });
    }
    true
}

#[inline(always)]
fn record<V: View>(frame: V, packet: &Packet, flow: EntryRef, now: Stamp) {
    if packet.tuple.proto == Proto::Tcp as u8 {
        let seen = flow.seen();
        let segment = Segment {
            is_outbound: seen & FlowEntry::OUTBOUND != 0,
            flags: packet.flags,
            has_payload: parse::tcp_payload(frame, packet) != 0,
        };
        if segment.matters(seen) {
            apply(packet, segment, flow, now);
        }
    } else {
        let before = flow.set_seen(ANY);
        if before & (ANY | FlowEntry::INITIATOR) == 0 {
            count_established(packet);
        }
    }
}

/// Does what the segment changes. The other half is written only by what is rare: a reset, what revokes it, and a fresh
/// connection.
#[inline(always)]
fn apply(packet: &Packet, segment: Segment, flow: EntryRef, now: Stamp) {
    let Some(pair) = table::pair(flow, &packet.tuple) else {
        // The other half is not there: this one is of a birth that is still in progress, or that was undone. The flag is kept, and
        // the next packet that shows something new derives the rest from it.
        flow.set_seen(segment.flags);
        return;
    };
    // All bits set when this half is the responder's. Halves are swapped without a branch: the verifier would walk all that
    // follows once for each.
    let swap = u32::from(flow.is_initiators()).wrapping_sub(1);
    let phases = |own: u32, other: u32| {
        let swapped = (own ^ other) & swap;
        Phase::of(Proto::Tcp as u8, own ^ swapped, other ^ swapped)
    };
    let (own, other) = (flow.seen(), pair.seen());
    let change = segment.change(own, other);
    // The timer starts over before the flags say that less time is left: nobody may find the flow expired in between.
    let is_end = ends(phases(own, other), phases(own & !change.clears | segment.flags, other));
    if is_end {
        restart_timer(flow, now);
    }
    if change.clears & own != 0 {
        flow.clear_seen(change.clears);
    }
    let before = flow.set_seen(segment.flags);
    if change.clears_other & other != 0 {
        pair.clear_seen(change.clears_other);
    }
    if change.sets_other != 0 {
        pair.set_seen(change.sets_other);
    }
    if change.starts_over {
        flow.restart(now);
        pair.restart(now);
        stats::count(|s| s.attempts[Proto::Tcp.index()] += 1);
    }
    // The other side's segment may have been observed at the same moment: one of the two sees both.
    let other = pair.seen();
    let (was, is) = (phases(before, other), phases(before | segment.flags, other));
    if !is_end && ends(was, is) {
        restart_timer(flow, now);
    }
    if matches!(was, Phase::New) && !is.is_transitory() {
        count_established(packet);
    }
    // Twice, because the other side's segment may have been observed in between: who writes last has then seen what both
    // have shown.
    let inbound = if segment.is_outbound { pair } else { flow };
    note_phase(inbound, phases(flow.seen(), pair.seen()));
    note_phase(inbound, phases(flow.seen(), pair.seen()));
}

/// Whether a segment leads from a lasting phase into a transitory one: the new phase's patience then begins, however long
/// the flow was idle (RFC 7857 section 2.2). From one transitory phase into another it does not begin anew, or whoever
/// sends forged segments could hold the flow.
#[inline(always)]
fn ends(was: Phase, is: Phase) -> bool {
    !was.is_transitory() && is.is_transitory()
}

#[inline(always)]
fn restart_timer(flow: EntryRef, now: Stamp) {
    let last = flow.last();
    if !last.is_dead() {
        flow.restamp(last, now);
    }
}

/// Tells the inbound half whether its packets refresh the flow.
#[inline(always)]
fn note_phase(inbound: EntryRef, phase: Phase) {
    match (inbound.seen() & LASTS == 0, phase.is_transitory()) {
        (true, false) => drop(inbound.set_seen(LASTS)),
        (false, true) => drop(inbound.clear_seen(LASTS)),
        _ => {}
    }
}

#[inline(always)]
fn count_established(packet: &Packet) {
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        stats::count(|s| s.established[proto.index()] += 1);
    }
}
