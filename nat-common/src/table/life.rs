//! Life and death of entries: compare-and-swaps on their stamps.
//!
//! Death has two steps. The reaper *condemns* a pair by setting the dead bit of both stamps; for
//! [`REVIVE_WINDOW`] after that a packet from inside may still *take it back*; and
//! [`DELETE_AFTER`] after that the reaper *buries* it. The initiator's half's stamp decides who was first.

use super::find::is_still;
use super::memory::{Key, Slot};
use crate::hop::HopStamp;
use crate::stamp::{DELETE_AFTER, REVIVE_WINDOW, Stamp};

/// How often an undone birth's half is condemned while packets move its stamp.
const ATTEMPTS: u32 = 4;

/// Whether a pair was taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum TakenBack {
    /// By this packet.
    Now,
    /// By another packet, at the same moment.
    Already,
    /// The reaper was first, or its condemnation is too old.
    Not,
}

/// Condemns both halves, whose stamps were read as `first` and `other`. `false`: a packet was first.
#[inline(always)]
pub fn condemn<S: Slot>(initiator: S, responder: S, first: Stamp, other: Stamp, death: Stamp) -> bool {
    let first_done = first.is_dead() || initiator.replace_last(first, death);
    first_done && (other.is_dead() || responder.replace_last(other, death))
}

/// Takes back a pair that is past its deadline.
///
/// The clock is read after the stamp: a packet that was stopped before would take a condemnation for a younger one than it is.
#[inline(always)]
pub fn take_back<S: Slot>(initiator: S, responder: S, clock: impl FnOnce() -> Stamp) -> TakenBack {
    let last = initiator.last();
    let now = clock();
    if last.is_dead() && last.age(now) >= REVIVE_WINDOW {
        return TakenBack::Not;
    }
    if !initiator.replace_last(last, now) {
        return if initiator.last().is_dead() { TakenBack::Not } else { TakenBack::Already };
    }
    let other = responder.last();
    if !responder.replace_last(other, now) {
        // The reaper condemned it in between, having lost the initiator's half to us.
        responder.replace_last(responder.last(), now);
    }
    // Whoever deletes the flow by force condemns the initiator's half again, and may have done so to the other one before it was
    // taken back here.
    let again = initiator.last();
    if again.is_dead() {
        responder.replace_last(now, again);
        return TakenBack::Not;
    }
    TakenBack::Now
}

/// Whether an entry has been dead for so long that nobody can be using it.
#[inline(always)]
pub fn is_ripe(last: Stamp, now: Stamp) -> bool {
    last.is_dead() && last.age(now) >= DELETE_AFTER
}

/// Whether the caller may remove the pair of which this is the deciding half. Of two reapers that are here for the same
/// flow only one may, because the other would remove, by key, what may be a new flow's by then. A fresh condemnation makes
/// the flow unripe to whoever comes later.
#[inline(always)]
pub fn bury<S: Slot>(deciding: S, now: Stamp) -> bool {
    let death = deciding.last();
    is_ripe(death, now) && deciding.replace_last(death, now.dead_for_good())
}

/// Condemns the half of a birth that is undone, for good. It is then the reaper's like any other dead entry: its slot is not
/// freed at once, because packets that found the entry may still be writing to it.
#[inline(always)]
pub fn undo<S: Slot>(half: S, now: Stamp) {
    for _ in 0..ATTEMPTS {
        // A packet may move the stamp meanwhile.
        let last = half.last();
        if last.is_dead() || half.replace_last(last, now.dead_for_good()) {
            break;
        }
    }
}

/// Stores a hop that was resolved for the entry of `key`, which was found alive, where `old` was before; `false` when the slot
/// is no longer that entry's.
///
/// The key is looked at before: the packet may have found a dead entry, and the stamp that it took for alive may be that of
/// the next flow in this slot. If the key is still there, the stamp was this entry's, and the slot stays its own until the
/// packet is done. The second look is for packets that take longer than that: unresolved is right for any entry.
#[inline(always)]
pub fn store_hop<S: Slot>(slot: S, key: Key, old: HopStamp, new: HopStamp) -> bool {
    if !is_still(slot, key) {
        return false;
    }
    slot.replace_hop(old, new);
    if is_still(slot, key) {
        return true;
    }
    slot.replace_hop(new, HopStamp::UNRESOLVED);
    false
}
