//! The flow table in map memory. How it works is in `nat_common::table`, whose code this is; here are its memory, and the parts
//! that the verifier wants apart.
//!
//! What loops is a *global* function, which takes and returns nothing but numbers and a pointer: the verifier checks it once
//! and by itself. As ordinary functions they would be walked again on every path that leads to them, and refused.

mod entry;

pub use entry::EntryRef;

use nat_common::{
    FlowEntry, Stamp, Tuple,
    settings::Settings,
    table::{
        find::{self, NOWHERE},
        insert::{self, Inserted},
        life,
        memory::{Key, Slot, Slots, Table},
        remove,
    },
};

use crate::{
    kernel::memory::{Shared, part},
    maps,
};

/// How often an insertion starts over because another CPU changed the same words. Births at one home at the same moment
/// are very rare; this many say that something is wrong.
const ATTEMPTS: u32 = 4;

/// How often the loser of a birth looks for the winner's entry, which may be in the middle of becoming live: 30 us, longer
/// than an interrupt that the winner may be in.
const PATIENCE: u32 = 1024;

/// The slots.
#[derive(Clone, Copy)]
struct FlowSlots;

impl Slots for FlowSlots {
    type Slot = EntryRef;

    #[inline(always)]
    fn slot(self, index: u32) -> Option<EntryRef> {
        maps::slot(index).map(EntryRef::new)
    }
}

/// The table.
#[derive(Clone, Copy)]
struct Flows {
    settings: &'static Settings,
}

impl Flows {
    #[inline(always)]
    fn get() -> Option<Self> {
        maps::settings().map(|settings| Self { settings })
    }

    /// How many entries there are.
    #[inline(always)]
    fn count() -> Option<Shared<u32>> {
        maps::occupancy().map(|occupancy| part!(occupancy, entries))
    }
}

impl Slots for Flows {
    type Slot = EntryRef;

    #[inline(always)]
    fn slot(self, index: u32) -> Option<EntryRef> {
        FlowSlots.slot(index)
    }
}

impl Table for Flows {
    #[inline(always)]
    fn home(self, key: Key) -> u32 {
        self.settings.hash.home_of(key.addresses, key.rest, self.settings.homes)
    }

    #[inline(always)]
    fn capacity(self) -> u32 {
        self.settings.capacity
    }

    #[inline(always)]
    fn taken(self) -> u32 {
        // An element of an array is always there. Without one, the table is full.
        Self::count().map_or(u32::MAX / 2, Shared::get)
    }

    #[inline(always)]
    fn replace_taken(self, old: u32, new: u32) -> bool {
        Self::count().is_some_and(|count| count.replace(old, new))
    }

    #[inline(always)]
    fn subtract_taken(self, entries: u32) {
        if let Some(count) = Self::count() {
            count.fetch_add(entries.wrapping_neg());
        }
    }

    #[inline(always)]
    fn beyond(self, key: Key, home: u32) -> u32 {
        table_beyond(key.addresses, key.rest, home)
    }

    #[inline(always)]
    fn is_occupied(self, key: Key, home: u32, farthest: u32) -> bool {
        table_occupied(key.addresses, key.rest, home, farthest)
    }

    #[inline(always)]
    fn vacancy(self, home: u32) -> u32 {
        table_vacancy(home)
    }

    #[inline(always)]
    fn farthest(self, home: u32, limit: u32) -> u32 {
        table_farthest(home, limit)
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_find(addresses: u64, rest: u64) -> u32 {
    let key = Key { addresses, rest };
    Flows::get().map_or(NOWHERE, |flows| find::index_of(flows, key, flows.home(key)))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_beyond(addresses: u64, rest: u64, home: u32) -> u32 {
    find::beyond(FlowSlots, Key { addresses, rest }, home)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_insert(addresses: u64, rest: u64, entry: *const FlowEntry, entering: u32) -> Inserted {
    // SAFETY: null, or the caller's entry.
    let (Some(flows), Some(entry)) = (Flows::get(), unsafe { entry.as_ref() }) else { return Inserted::Full };
    insert::insert(flows, Key { addresses, rest }, entry, entering)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_occupied(addresses: u64, rest: u64, home: u32, farthest: u32) -> bool {
    insert::is_occupied(FlowSlots, Key { addresses, rest }, home, farthest)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_vacancy(home: u32) -> u32 {
    insert::vacancy(FlowSlots, home)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_remove(addresses: u64, rest: u64) -> bool {
    Flows::get().is_some_and(|flows| remove::remove(flows, Key { addresses, rest }))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_farthest(home: u32, limit: u32) -> u32 {
    Flows::get().map_or(limit, |flows| remove::farthest(flows, home, limit))
}

/// The entry of a tuple.
#[inline(always)]
pub fn find(key: &Tuple) -> Option<EntryRef> {
    let Key { addresses, rest } = Key::of(key);
    // Where nothing was found, the index is NOWHERE, which is beyond the end of the array: the lookup of the slot gives None.
    FlowSlots.slot(table_find(addresses, rest))
}

/// [`find`] for the fast path: most entries are at home.
#[inline(always)]
pub fn find_at_home(settings: &'static Settings, key: &Tuple) -> Option<EntryRef> {
    let (flows, key) = (Flows { settings }, Key::of(key));
    find::find_from(flows, key, flows.home(key))
}

/// The other half of a flow. `None` for half a pair: also where the tuple's flow has another one, because two CPUs
/// created it at once and this is the half that was undone.
#[inline(always)]
pub fn pair(entry: EntryRef, key: &Tuple) -> Option<EntryRef> {
    let pair_key = entry.pair_key(key);
    let pair = find(&pair_key)?;
    if find::is_mutual(pair, Key::of(&pair_key), Key::of(key)) { Some(pair) } else { None }
}

/// Starts fetching the home slot of a key that will be asked for soon. A load that nothing waits for: BPF has no other
/// prefetch.
#[inline(always)]
pub fn fetch(key: &Tuple) {
    let Some(flows) = Flows::get() else { return };
    if let Some(first) = flows.slot(flows.home(Key::of(key))) {
        first.rest();
    }
}

/// Waits until the entry that an insertion found to exist is live.
#[inline(always)]
pub fn wait_for_winner(key: &Tuple) {
    let Key { addresses, rest } = Key::of(key);
    for _ in 0..PATIENCE {
        if table_find(addresses, rest) != NOWHERE {
            break;
        }
    }
}

/// Inserts an entry under a key that must not exist, and counts `entering` entries: the first half of a flow brings room for
/// both.
#[inline(always)]
pub fn insert(key: &Tuple, entry: &FlowEntry, entering: u32) -> Inserted {
    let Key { addresses, rest } = Key::of(key);
    table_insert(addresses, rest, entry, entering)
}

/// [`insert`], again while other CPUs disturb it.
#[inline(always)]
pub fn insert_patiently(key: &Tuple, entry: &FlowEntry, entering: u32) -> Inserted {
    for _ in 0..ATTEMPTS {
        match insert(key, entry, entering) {
            Inserted::Disturbed => {}
            result => return result,
        }
    }
    Inserted::Disturbed
}

/// Undoes the first half of a birth, which brought the room for both; the reaper buries it.
#[inline(always)]
pub fn undo(key: &Tuple, now: Stamp) {
    if let Some(half) = find(key) {
        life::undo(half, now);
    }
    if let Some(flows) = Flows::get() {
        flows.subtract_taken(1);
    }
}

/// Removes the entry of a key, if there is one. Only for the reaper: one at a time per key.
#[inline(always)]
pub fn remove(key: &Tuple) {
    let Key { addresses, rest } = Key::of(key);
    table_remove(addresses, rest);
}
