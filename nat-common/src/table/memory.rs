//! The memory that the table's algorithm works on, as named operations with C11 memory orderings.
//!
//! The packet path implements these traits over map memory, the model checker's tests (`tests/table`) over `loom`'s
//! atomics. Every word is read and written by several CPUs at once: each access is atomic, and what an operation's
//! documentation does not say more about is *relaxed*.
//!
//! What needs an order, and what that order is for:
//!
//! | Operation | Ordering | Without it |
//! |---|---|---|
//! | [`Slot::addresses`] | acquire | a reader could see a new key and still the state that the slot had under the last one |
//! | [`Slot::rest`] | acquire | a reader could find a live entry and read fields from before it was written |
//! | [`Slot::bound`] | acquire | an insertion could miss its own key, a removal the entry that is farthest then |
//! | [`Slot::reserve`] | acquire, and a release fence after it | a reader could read the new flow's fields and still see the old key |
//! | [`Slot::replace_bound`] | acquire and release | as `bound`, seen from the writer |
//! | [`Slot::publish`] | release | as `rest`, seen from the writer |
//! | [`Slot::vacate`], [`Slot::unreserve`] | release | the next owner's fields could be overwritten by the last one's |
//! | [`Slot::last`] | acquire, and release where [`Slot::write`] stores it | a packet that found a dead entry could see it come alive, as a new flow of the same key, and read old fields |
//! | [`Slot::acquire`] | acquire fence | a reader could look at the key again before it has read the fields |

use super::bound::ProbeBound;
use super::size::REACH;
use super::state::SlotState;
use crate::hop::HopStamp;
use crate::stamp::Stamp;
use crate::tuple::{Tuple, with_state};

/// A key as the table compares it: two words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Both addresses, [`Tuple::addresses`].
    pub addresses: u64,
    /// Ports, protocol and side, [`Tuple::rest_at`] with the state [`SlotState::FREE`].
    pub rest: u64,
}

impl Key {
    /// The key of a tuple.
    #[inline(always)]
    pub fn of(tuple: &Tuple) -> Self {
        Self { addresses: tuple.addresses(), rest: tuple.rest_at(SlotState::FREE) }
    }

    /// From the two words of a slot, whatever its state.
    #[inline(always)]
    pub const fn of_words(addresses: u64, rest: u64) -> Self {
        Self { addresses, rest: with_state(rest, SlotState::FREE) }
    }

    /// Second word of the slot in which this key's entry is being written.
    #[inline(always)]
    pub const fn pending(self) -> u64 {
        with_state(self.rest, SlotState::PENDING)
    }

    /// Second word of the slot in which this key's entry is live.
    #[inline(always)]
    pub const fn live(self) -> u64 {
        with_state(self.rest, SlotState::LIVE)
    }
}

/// One slot of the table: a cursor to its memory, which several CPUs read and write.
pub trait Slot: Copy {
    /// What an insertion writes beside the key.
    type Value;

    /// First word of the key. *Acquire*.
    fn addresses(self) -> u64;

    /// Second word of the key, with the slot's state. *Acquire*.
    fn rest(self) -> u64;

    /// The probe bound of this slot as a home. *Acquire*.
    fn bound(self) -> ProbeBound;

    /// Replaces the bound unless the word changed; whether it did. *Acquire and release*.
    fn replace_bound(self, old: ProbeBound, new: ProbeBound) -> bool;

    /// Takes a free slot for the key with this second word, which says [`SlotState::PENDING`]; whether it was free.
    /// *Acquire*, and a *release fence* after it: whoever sees any later write of this CPU to the slot, and then looks at the
    /// second word, sees that it changed.
    fn reserve(self, pending: u64) -> bool;

    /// Writes the first word and the entry's fields but for `seen`: `last` after all others, and with *release*. The slot is
    /// reserved.
    fn write(self, addresses: u64, value: &Self::Value);

    /// Writes the entry's half of `seen`. The other half, the bound, may be replaced by other CPUs at the same time.
    fn write_flags(self, value: &Self::Value);

    /// Makes a slot that is written the live entry's. *Release*.
    fn publish(self, live: u64);

    /// Gives a slot back that was reserved and never published. *Release*.
    fn unreserve(self);

    /// Frees the slot if it still says `live`; whether it did. *Release*.
    fn vacate(self, live: u64) -> bool;

    /// Acquire fence: what was read before it was read before whatever is read after it.
    fn acquire(self);

    /// Last packet, or death. *Acquire*.
    fn last(self) -> Stamp;

    /// Replaces the stamp unless it changed; whether it did. *Acquire and release*.
    fn replace_last(self, old: Stamp, new: Stamp) -> bool;

    /// The resolved hop.
    fn hop(self) -> HopStamp;

    /// Replaces the hop unless it changed; whether it did. *Acquire and release*.
    fn replace_hop(self, old: HopStamp, new: HopStamp) -> bool;

    /// Key of the other half of the flow whose entry stands here under `key`.
    fn pair_key(self, key: Key) -> Key;
}

/// The slots.
pub trait Slots: Copy {
    /// A cursor to one of them.
    type Slot: Slot;

    /// Slots at which an entry may stand, counted from its home.
    const REACH: u32 = REACH;

    /// The slot with this index. `None` only for what no home reaches.
    fn slot(self, index: u32) -> Option<Self::Slot>;
}

/// A table: slots, the hash that names homes, and the count of entries.
///
/// The last four methods are parts of the algorithm that loop. An implementation calls the function that is named there,
/// directly or, in the packet path, by a function that the verifier checks by itself.
pub trait Table: Slots {
    /// The home slot of a key.
    fn home(self, key: Key) -> u32;

    /// Entries that the table takes.
    fn capacity(self) -> u32;

    /// Entries that are in the table or reserved.
    fn taken(self) -> u32;

    /// Replaces that number unless it changed; whether it did.
    fn replace_taken(self, old: u32, new: u32) -> bool;

    /// Subtracts from that number.
    fn subtract_taken(self, entries: u32);

    /// [`super::find::beyond`].
    fn beyond(self, key: Key, home: u32) -> u32;

    /// [`super::insert::is_occupied`].
    fn is_occupied(self, key: Key, home: u32, farthest: u32) -> bool;

    /// [`super::insert::vacancy`].
    fn vacancy(self, home: u32) -> u32;

    /// [`super::remove::farthest`].
    fn farthest(self, home: u32, limit: u32) -> u32;
}
