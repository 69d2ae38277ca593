//! Birth, freshness and revival of flows. Death is the reaper's (`reap.rs`).

use nat_common::{
    Eip, EipState, FlowEntry, Proto, Reason, Stamp, Tuple, Verdict,
    reap::ended_idle,
    table::{
        insert::Inserted,
        life::{TakenBack, take_back as take_back_pair},
    },
    tcp::{self, Phase},
};

use crate::{
    frame::Frame,
    kernel::clock,
    maps,
    report::stats,
    table::{self, EntryRef},
    work::{Work, packet::Packet},
};

/// Whether the flow of a packet with this tuple, whose own stamp is not fresh, is alive: looks at both halves.
///
/// An entry that was not touched for so long also forgets its hop. A hop slot's generation is 18 bits, and comes round
/// some day; who looked within `IdleLimits::fresh` never meets the same one again.
#[inline(always)]
pub fn is_alive(tuple: &Tuple, now: Stamp) -> bool {
    life_is_alive(tuple, now.word)
}

/// A global function, which the verifier checks by itself (see `table`); so it looks the flow up again.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn life_is_alive(tuple: *const Tuple, now: u32) -> bool {
    // SAFETY: null, or the caller's tuple.
    let Some(tuple) = (unsafe { tuple.as_ref() }) else { return false };
    table::find(tuple).is_some_and(|flow| are_both_alive(tuple, flow, Stamp { word: now }))
}

#[inline(always)]
fn are_both_alive(key: &Tuple, flow: EntryRef, now: Stamp) -> bool {
    let last = flow.last();
    if last.is_dead() {
        return false;
    }
    let (Some(settings), Some(pair)) = (maps::settings(), table::pair(flow, key)) else {
        return false;
    };
    let other = pair.last();
    if other.is_dead() {
        return false;
    }
    if last.age(now) >= settings.timeouts.fresh {
        flow.forget_hop();
    }
    !settings.timeouts.is_expired(key.proto, phase(key.proto, flow, pair), last, other, now)
}

/// Phase of the flow of which these are the halves, in either order.
#[inline(always)]
pub fn phase(proto: u8, flow: EntryRef, pair: EntryRef) -> Phase {
    let (a, b) = (flow.seen(), pair.seen());
    if a & FlowEntry::OUTBOUND != 0 { Phase::of(proto, a, b) } else { Phase::of(proto, b, a) }
}

/// Moves the stamp of a live entry to now, if the packet refreshes it. Compare-and-swap: a plain store could undo a
/// condemnation.
#[inline(never)]
pub fn touch(packet: &Packet, flow: EntryRef, last: Stamp, now: Stamp) {
    if !last.is_dead() && tcp::refreshes(packet.tuple.proto, packet.flags, flow.seen()) {
        flow.restamp(last, now);
    }
}

/// Takes the flow of the packet at hand back, if it has one that is past its deadline: whether it did. The packet may start a
/// flow.
#[inline(always)]
pub fn take_back(work: &Work) -> Result<bool, Verdict> {
    match table::find(&work.packet.tuple) {
        Some(existing) if work.is_known => revive(&work.packet, existing, work.now).map(|()| true),
        _ => Ok(false),
    }
}

/// Takes back, in place, a pair that is past its deadline. The packet may start a flow.
#[inline(never)]
fn revive(packet: &Packet, flow: EntryRef, now: Stamp) -> Result<(), Verdict> {
    let expired = || Err(Verdict::drop(Reason::Expired));
    // An EIP that was drained or removed meanwhile serves no new flows, and this is a new one.
    if !maps::eip(flow.new_src()).is_some_and(|e| is_active(&e)) {
        return expired();
    }
    let Some(pair) = table::pair(flow, &packet.tuple) else { return expired() };
    let (seen, pair_seen) = (flow.seen(), pair.seen());
    match take_back_pair(flow, pair, clock::now) {
        TakenBack::Now => {}
        TakenBack::Already => return Ok(()),
        TakenBack::Not => return expired(),
    }
    flow.clear_seen(tcp::FLAGS);
    pair.clear_seen(tcp::FLAGS);
    flow.restart(now);
    pair.restart(now);
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        stats::count(|s| {
            s.revivals += 1;
            s.attempts[proto.index()] += 1;
            if ended_idle(packet.tuple.proto, seen, pair_seen) {
                s.idle_timeouts[proto.index()] += 1;
            }
        });
    }
    Ok(())
}

/// Whether an EIP takes new flows.
#[inline(always)]
pub fn is_active(eip: &Eip) -> bool {
    eip.state == EipState::Active as u8
}

/// Completes a birth: the reverse entry was inserted by the claim, the forward entry follows.
///
/// Losing to another CPU that creates the same flow undoes the claim, and the winner's pair is used.
#[inline(never)]
pub fn birth<F: Frame>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    let reverse = &work.search.reverse;
    let key = &work.packet.tuple;
    let becomes = Tuple { src: reverse.dst, dst: key.dst, sport: reverse.dport, dport: key.dport, ..*key };
    let via = maps::iface(frame.ingress()).map_or(0, |iface| FlowEntry::via(iface.devmap));
    work.entry = FlowEntry::new(key, &becomes, FlowEntry::OUTBOUND | via | work.packet.flags, work.now);
    work.entry.hop = work.route.hop.stamp;
    let Some(proto) = Proto::from_number(key.proto) else {
        return Err(Verdict::drop(Reason::UnsupportedProto));
    };
    match table::insert_patiently(key, &work.entry, 0) {
        Inserted::Done => {
            stats::count(|s| s.births[proto.index()] += 1);
            Ok(())
        }
        Inserted::Exists => {
            table::undo(reverse, work.now);
            stats::count(|s| s.lost_races += 1);
            table::wait_for_winner(key);
            Ok(())
        }
        Inserted::Full | Inserted::Crowded | Inserted::Disturbed => {
            // Not for want of room, which the first half brought along.
            table::undo(reverse, work.now);
            Err(Verdict::drop(Reason::Contended))
        }
    }
}
