//! Inserting an entry.

use super::SlotState;
use super::find::NOWHERE;
use super::memory::{Key, Slot, Slots, Table};
use crate::tuple::{state_of, with_state};

/// What became of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Inserted {
    /// The entry is live.
    Done,
    /// The key exists, or is about to: another CPU was first.
    Exists,
    /// The table has its number of entries.
    Full,
    /// The table has room, but not within reach of this key's home.
    Crowded,
    /// Another CPU changed the same words at the same moment.
    Disturbed,
}

/// Inserts an entry under a key that must not exist, and counts `entering` entries: the first half of a flow brings room for
/// both, the second none.
#[inline(always)]
pub fn insert<T: Table>(table: T, key: Key, value: &<T::Slot as Slot>::Value, entering: u32) -> Inserted {
    if entering != 0 {
        let entered = enter(table, entering);
        if entered != Inserted::Done {
            return entered;
        }
    }
    let result = insert_from(table, key, value, table.home(key));
    if result != Inserted::Done && entering != 0 {
        table.subtract_taken(entering);
    }
    result
}

#[inline(always)]
fn insert_from<T: Table>(table: T, key: Key, value: &<T::Slot as Slot>::Value, home: u32) -> Inserted {
    let Some(first) = table.slot(home) else { return Inserted::Crowded };
    let bound = first.bound();
    // In most cases the home slot is free and no entry of this home stands elsewhere: there is nothing to search.
    let distance = if bound.farthest() == 0 && state_of(first.rest()) == SlotState::FREE {
        0
    } else if table.is_occupied(key, home, bound.farthest()) {
        return Inserted::Exists;
    } else {
        table.vacancy(home)
    };
    if distance >= T::REACH {
        return Inserted::Crowded;
    }
    let Some(slot) = table.slot(home.wrapping_add(distance)) else { return Inserted::Crowded };
    if !slot.reserve(key.pending()) {
        return Inserted::Disturbed;
    }
    slot.write(key.addresses, value);
    // Fails if an entry of this home was inserted since the bound was read: that entry may have the same key.
    if !first.replace_bound(bound, bound.joined(distance)) {
        slot.unreserve();
        return Inserted::Disturbed;
    }
    // Only now: where the slot is the home itself, flags and bound are halves of one word, and writing the flags earlier would make
    // the replacement of the bound fail.
    slot.write_flags(value);
    slot.publish(key.live());
    Inserted::Done
}

/// How often the count of entries is tried to be raised while other CPUs change it.
const ATTEMPTS: u32 = 3;

/// Counts entries, if the table takes them. By compare-and-swap and not by adding: what was added for an insertion that is
/// refused would count until it is subtracted, and others would be refused for it.
#[inline(always)]
fn enter<T: Table>(table: T, entries: u32) -> Inserted {
    for _ in 0..ATTEMPTS {
        let taken = table.taken();
        if taken.wrapping_add(entries) > table.capacity() {
            return Inserted::Full;
        }
        if table.replace_taken(taken, taken.wrapping_add(entries)) {
            return Inserted::Done;
        }
    }
    Inserted::Disturbed
}

/// Whether the key stands, live or pending, at its home or at a distance of up to `farthest`.
#[inline(always)]
pub fn is_occupied<M: Slots>(slots: M, key: Key, home: u32, farthest: u32) -> bool {
    for distance in 0..M::REACH {
        if distance > farthest {
            break;
        }
        let Some(slot) = slots.slot(home + distance) else { break };
        let rest = slot.rest();
        if state_of(rest) != SlotState::FREE
            && with_state(rest, SlotState::FREE) == key.rest
            && slot.addresses() == key.addresses
        {
            return true;
        }
    }
    false
}

/// Distance from a home of the nearest free slot; [`NOWHERE`] for none. A loop of its own: carried through the one above,
/// every distance that it could be would be another state to the verifier, in every turn.
#[inline(always)]
pub fn vacancy<M: Slots>(slots: M, home: u32) -> u32 {
    for distance in 0..M::REACH {
        let Some(slot) = slots.slot(home + distance) else { break };
        if state_of(slot.rest()) == SlotState::FREE {
            return distance;
        }
    }
    NOWHERE
}
