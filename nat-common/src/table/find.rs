//! Finding an entry.

use super::memory::{Key, Slot, Slots, Table};

/// The index of no slot, and the distance of none.
pub const NOWHERE: u32 = u32::MAX;

/// Whether the live entry of `key` stands in this slot.
///
/// The first word is read first. Whoever reads it of a key sees at least that the slot was reserved for that key, so the second
/// word says LIVE only once the entry is written. The other way round, the second word could be that of the last key in this
/// slot, if both have the same ports, and the first one that of the next key, whose entry is not written yet.
#[inline(always)]
pub fn holds<S: Slot>(slot: S, key: Key) -> bool {
    let addresses = slot.addresses();
    // One branch for both words: two would double what the verifier walks from here on.
    (addresses ^ key.addresses) | (slot.rest() ^ key.live()) == 0
}

/// Whether the slot in which `key` was found still holds it. Asked after the last use of any field: what was read in
/// between was then read from this key's entry, because an insertion changes the key first.
///
/// That is so however long the reader took, with two exceptions, both of which need a slot to be given away while a packet is
/// being processed, which [`GONE_AFTER_MS`](crate::stamp::GONE_AFTER_MS) rules out: the slot went to another entry of the
/// *same* key, or to two other entries one after the other, of which the two words looked at are one each.
#[inline(always)]
pub fn is_still<S: Slot>(slot: S, key: Key) -> bool {
    slot.acquire();
    // Whoever has read a field of another entry finds at least that the slot was reserved for it, in whatever order.
    (slot.rest() ^ key.live()) | (slot.addresses() ^ key.addresses) == 0
}

/// The entry of a key whose home is known. For the fast path: only the search beyond the home slot, which few keys need, is a call
/// ([`Table::beyond`]).
#[inline(always)]
pub fn find_from<T: Table>(table: T, key: Key, home: u32) -> Option<T::Slot> {
    let first = table.slot(home)?;
    if holds(first, key) {
        return Some(first);
    }
    if first.bound().farthest() == 0 {
        return None;
    }
    table.slot(table.beyond(key, home))
}

/// Index of the entry of a key; [`NOWHERE`] for none.
#[inline(always)]
pub fn index_of<T: Table>(table: T, key: Key, home: u32) -> u32 {
    let Some(first) = table.slot(home) else { return NOWHERE };
    if holds(first, key) { home } else { table.beyond(key, home) }
}

/// Index of an entry that is not at its home; [`NOWHERE`] for none.
#[inline(always)]
pub fn beyond<M: Slots>(slots: M, key: Key, home: u32) -> u32 {
    let Some(first) = slots.slot(home) else { return NOWHERE };
    let farthest = first.bound().farthest();
    for distance in 1..M::REACH {
        if distance > farthest {
            break;
        }
        let Some(slot) = slots.slot(home + distance) else { break };
        if holds(slot, key) {
            return home + distance;
        }
    }
    NOWHERE
}

/// Whether the entry found under `theirs` is the other half of the flow whose half has the key `ours`: both must name each
/// other. They do not where two CPUs created a flow at once and one of the halves is left over from the birth that was undone.
#[inline(always)]
pub fn is_mutual<S: Slot>(pair: S, theirs: Key, ours: Key) -> bool {
    let back = pair.pair_key(theirs);
    (back.addresses ^ ours.addresses) | (back.rest ^ ours.rest) == 0
}
