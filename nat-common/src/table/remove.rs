//! Removing an entry.

use super::SlotState;
use super::find::index_of;
use super::memory::{Key, Slot, Table};
use crate::tuple::state_of;

/// Removes the entry of a key, if there is one; whether there was. Only for the reaper, and for one at a time per key
/// ([`super::life::bury`] sees to that): whoever removes by key removes whatever entry has that key by then.
#[inline(always)]
pub fn remove<T: Table>(table: T, key: Key) -> bool {
    let home = table.home(key);
    let Some(first) = table.slot(home) else { return false };
    let index = index_of(table, key, home);
    let Some(slot) = table.slot(index) else { return false };
    let distance = index.wrapping_sub(home);
    // Read before the slot is free: if anybody takes it and changes the bound, the swap below fails.
    let bound = first.bound();
    if !slot.vacate(key.live()) {
        return false;
    }
    table.subtract_taken(1);
    // Only when the farthest entry leaves is there less to search.
    if distance != 0 && distance >= bound.farthest() {
        // When somebody changed the bound meanwhile it stays as it is: searches take longer and miss nothing.
        first.replace_bound(bound, bound.at(table.farthest(home, distance)));
    }
    true
}

/// Distance from a home of its farthest entry, of those at a distance below `limit`.
#[inline(always)]
pub fn farthest<T: Table>(table: T, home: u32, limit: u32) -> u32 {
    let mut farthest = 0;
    for distance in 1..T::REACH {
        if distance >= limit {
            break;
        }
        let Some(slot) = table.slot(home + distance) else { break };
        let rest = slot.rest();
        if state_of(rest) != SlotState::FREE && table.home(Key::of_words(slot.addresses(), rest)) == home {
            farthest = distance;
        }
    }
    farthest
}
