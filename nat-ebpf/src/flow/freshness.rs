//! Whether a flow is alive: its stamps against its deadline.

use nat_common::{
    FlowEntry, Stamp, Tuple,
    tcp::{self, Phase},
};

use crate::{
    maps,
    table::{self, EntryRef},
    work::packet::Packet,
};

/// Whether the flow of a packet with this tuple, whose own stamp is not fresh, is alive: looks at both halves.
///
/// An entry that was not touched for `IdleLimits::fresh` also forgets its hop. Its stamp has a generation of 18 bits: after 2^18
/// changes of the hop's slot an old stamp would look current again. That many do not fit into `fresh`
/// (`nat_common::hop::TAKEOVERS_PER_SECOND`), so an entry that looks at its hop more often never meets one.
#[inline(always)]
pub fn is_alive(tuple: &Tuple, now: Stamp) -> bool {
    flow_is_alive(tuple, now.word)
}

/// A global function: the verifier checks it by itself, and such a function takes no `EntryRef`, so it looks the flow up again.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn flow_is_alive(tuple: *const Tuple, now: u32) -> bool {
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
    if a & FlowEntry::INITIATOR != 0 { Phase::of(proto, a, b) } else { Phase::of(proto, b, a) }
}

/// Moves the stamp of a live entry to now, if the packet refreshes it. Compare-and-swap: a plain store could undo a
/// condemnation.
#[inline(never)]
pub fn touch(packet: &Packet, flow: EntryRef, last: Stamp, now: Stamp) {
    if !last.is_dead() && tcp::refreshes(packet.tuple.proto, packet.flags, flow.seen()) {
        flow.restamp(last, now);
    }
}
