//! The flow table: finding, inserting and removing entries without a lock. `nat_common::table` tells the rules.
//!
//! What loops is a *global* function, which takes and returns nothing but numbers: the verifier checks it once and by
//! itself. As ordinary functions they would be walked again on every path that leads to them, and refused.

pub mod flow;

use nat_common::{
    FlowEntry, Stamp, Tuple,
    settings::Settings,
    table::{REACH, place},
    tuple::{place_of, placed},
};

use crate::{kernel::atomics, maps, table::flow::Flow};

/// No place.
const NOWHERE: u32 = u32::MAX;

/// How often an insertion starts over because somebody else changed its home. Births at one home at the same moment
/// are very rare; this many say that something is wrong.
const ATTEMPTS: u32 = 4;

/// How often a loser looks for the winner's entry, which may be in the middle of becoming live: 30 us, longer than an
/// interrupt that the winner may be in.
const PATIENCE: u32 = 1024;

/// Why a flow entry was not inserted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum InsertError {
    /// The key exists, or is about to: another CPU was first.
    Exists,
    /// The table has its number of entries.
    Full,
    /// The table has room, but not where this key may stand.
    Crowded,
    /// Another CPU changed the home at the same moment.
    Disturbed,
}

/// What stands at a place of the table. `None` only for places that no home reaches.
#[inline(always)]
fn slot(index: u32) -> Option<Flow> {
    maps::place(index).map(Flow::new)
}

/// The entry of a tuple.
#[inline(always)]
pub fn find(key: &Tuple) -> Option<Flow> {
    // No map has a place that is nowhere.
    slot(table_find(key.addresses(), key.rest_at(place::LIVE)))
}

/// The other half of a flow. `None` for half a pair: also where the tuple's flow has another one, because two CPUs
/// created it at once and this is the half that was undone.
#[inline(always)]
pub fn pair(flow: Flow, key: &Tuple) -> Option<Flow> {
    let pair_key = flow.pair_key(key);
    let pair = find(&pair_key)?;
    let back = pair.pair_key(&pair_key);
    let is_mutual =
        (back.addresses() ^ key.addresses()) | (back.rest_at(place::FREE) ^ key.rest_at(place::FREE)) == 0;
    if is_mutual { Some(pair) } else { None }
}

/// [`find`] for the fast path: most entries are at home.
#[inline(always)]
pub fn find_at_home(settings: &Settings, key: &Tuple) -> Option<Flow> {
    let home = settings.hash.home(key, settings.homes);
    let first = slot(home)?;
    let (addresses, live) = (key.addresses(), key.rest_at(place::LIVE));
    if first.is(addresses, live) {
        return Some(first);
    }
    if first.crowd().farthest() == 0 {
        return None;
    }
    slot(table_beyond(addresses, live, home))
}

/// Starts fetching the home of a key that will be asked for soon. A load that nothing waits for: BPF has no other
/// prefetch.
#[inline(always)]
pub fn fetch(key: &Tuple) {
    let Some(settings) = maps::settings() else { return };
    if let Some(first) = slot(settings.hash.home(key, settings.homes)) {
        first.rest();
    }
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_find(addresses: u64, live: u64) -> u32 {
    let Some(settings) = maps::settings() else { return NOWHERE };
    let home = settings.hash.home_of(addresses, placed(live, place::FREE), settings.homes);
    let Some(first) = slot(home) else { return NOWHERE };
    if first.is(addresses, live) { home } else { table_beyond(addresses, live, home) }
}

/// Place of an entry that is not at home.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_beyond(addresses: u64, live: u64, home: u32) -> u32 {
    let Some(first) = slot(home) else { return NOWHERE };
    let farthest = first.crowd().farthest();
    for distance in 1..REACH {
        if distance > farthest {
            break;
        }
        let Some(flow) = slot(home + distance) else { break };
        if flow.is(addresses, live) {
            return home + distance;
        }
    }
    NOWHERE
}

/// Looks again for an entry that an insertion found to exist, until it is live.
#[inline(always)]
pub fn settle(key: &Tuple) {
    for _ in 0..PATIENCE {
        if table_find(key.addresses(), key.rest_at(place::LIVE)) != NOWHERE {
            break;
        }
    }
}

/// Inserts an entry under a key that must not exist, and counts `entering` entries: the first half
/// of a flow brings room for both.
#[inline(always)]
pub fn insert(key: &Tuple, entry: &FlowEntry, entering: u32) -> Result<(), InsertError> {
    match table_insert(key.addresses(), key.rest_at(place::FREE), entry, entering) {
        DONE => Ok(()),
        EXISTS => Err(InsertError::Exists),
        FULL => Err(InsertError::Full),
        CROWDED => Err(InsertError::Crowded),
        _ => Err(InsertError::Disturbed),
    }
}

/// [`insert`], again while other CPUs disturb it.
#[inline(always)]
pub fn insert_patiently(key: &Tuple, entry: &FlowEntry, entering: u32) -> Result<(), InsertError> {
    for _ in 0..ATTEMPTS {
        match insert(key, entry, entering) {
            Err(InsertError::Disturbed) => {}
            result => return result,
        }
    }
    Err(InsertError::Disturbed)
}

const DONE: u32 = 0;
const EXISTS: u32 = 1;
const FULL: u32 = 2;
const DISTURBED: u32 = 3;
const CROWDED: u32 = 4;

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_insert(addresses: u64, rest: u64, entry: *const FlowEntry, entering: u32) -> u32 {
    // SAFETY: null, or the caller's entry.
    let (Some(settings), Some(entry)) = (maps::settings(), unsafe { entry.as_ref() }) else { return FULL };
    let home = settings.hash.home_of(addresses, rest, settings.homes);
    if entering != 0 && !enter(settings, entering) {
        return FULL;
    }
    let result = insert_at(addresses, rest, entry, home);
    if result != DONE && entering != 0 {
        leave(entering);
    }
    result
}

#[inline(always)]
fn insert_at(addresses: u64, rest: u64, entry: &FlowEntry, home: u32) -> u32 {
    let Some(first) = slot(home) else { return CROWDED };
    let crowd = first.crowd();
    atomics::barrier();
    // Mostly the home is free and has nobody elsewhere either.
    let distance = if crowd.farthest() == 0 && place_of(first.rest()) == place::FREE {
        0
    } else if table_occupied(addresses, rest, home, crowd.farthest()) != 0 {
        return EXISTS;
    } else {
        table_vacancy(home)
    };
    let Some(flow) = slot(home.wrapping_add(distance)) else { return CROWDED };
    if distance >= REACH {
        return CROWDED;
    }
    if !flow.take() {
        return DISTURBED;
    }
    flow.fill(addresses, placed(rest, place::PENDING), entry);
    if !first.set_crowd(crowd, crowd.joined(distance)) {
        flow.free();
        return DISTURBED;
    }
    flow.enliven(placed(rest, place::LIVE), entry.seen);
    DONE
}

/// Counts entries, if the table takes them.
#[inline(always)]
fn enter(settings: &Settings, entries: u32) -> bool {
    let Some(taken) = maps::taken() else { return false };
    // SAFETY: a map value of four bytes.
    let is_full = unsafe { atomics::fetch_add(taken, entries) } + entries > settings.capacity;
    if is_full {
        leave(entries);
    }
    !is_full
}

/// Counts entries less.
#[inline(always)]
fn leave(entries: u32) {
    if let Some(taken) = maps::taken() {
        // SAFETY: a map value of four bytes.
        unsafe { atomics::fetch_add(taken, entries.wrapping_neg()) };
    }
}

/// 1 when the key stands, live or pending, at its home or at one of the places up to `farthest`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_occupied(addresses: u64, rest: u64, home: u32, farthest: u32) -> u32 {
    for distance in 0..REACH {
        if distance > farthest {
            break;
        }
        let Some(flow) = slot(home + distance) else { break };
        let theirs = flow.rest();
        if place_of(theirs) != place::FREE
            && placed(theirs, place::FREE) == rest
            && flow.addresses() == addresses
        {
            return 1;
        }
    }
    0
}

/// Distance from a home of the nearest free place. A loop of its own: carried through the one above, every distance it
/// could be would be another state to the verifier, in every turn.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_vacancy(home: u32) -> u32 {
    for distance in 0..REACH {
        let Some(flow) = slot(home + distance) else { break };
        if place_of(flow.rest()) == place::FREE {
            return distance;
        }
    }
    NOWHERE
}

/// Undoes the first half of a birth, which brought the room for both: condemned for good, it is the reaper's like any
/// other dead. Its place is not given away at once, because packets that found the entry may still be writing to it: no
/// place that was LIVE is free sooner than `stamp::GONE_AFTER_MS` after its death.
#[inline(always)]
pub fn undo(key: &Tuple, now: Stamp) {
    if let Some(half) = find(key) {
        for _ in 0..ATTEMPTS {
            // Somebody's packet may move the stamp meanwhile.
            let last = half.last();
            if last.is_dead() || half.restamp(last, now.dead_for_good()) {
                break;
            }
        }
    }
    leave(1);
}

/// Removes the entry of a key, if there is one. Only for the reaper: one at a time per key.
#[inline(always)]
pub fn remove(key: &Tuple) {
    table_remove(key.addresses(), key.rest_at(place::LIVE));
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_remove(addresses: u64, live: u64) -> u32 {
    let Some(settings) = maps::settings() else { return 0 };
    let home = settings.hash.home_of(addresses, placed(live, place::FREE), settings.homes);
    let Some(first) = slot(home) else { return 0 };
    let at = if first.is(addresses, live) { home } else { table_beyond(addresses, live, home) };
    let Some(flow) = slot(at) else { return 0 };
    let distance = at.wrapping_sub(home);
    // Before the place is free: whoever takes it, and changes the crowd, is then noticed by the swap below.
    let crowd = first.crowd();
    atomics::barrier();
    if !flow.vacate(live) {
        return 0;
    }
    leave(1);
    // Only the farthest one's leaving changes how far there is to look.
    if distance != 0 && distance >= crowd.farthest() {
        // When somebody changed the home meanwhile, it keeps its long reach: slower, not wrong.
        first.set_crowd(crowd, crowd.at(table_farthest(home, distance)));
    }
    1
}

/// Distance from a home to its farthest entry, of less than `limit`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn table_farthest(home: u32, limit: u32) -> u32 {
    let mut farthest = 0;
    let Some(settings) = maps::settings() else { return limit };
    for distance in 1..REACH {
        if distance >= limit {
            break;
        }
        let Some(flow) = slot(home + distance) else { break };
        let rest = flow.rest();
        if place_of(rest) != place::FREE
            && settings.hash.home_of(flow.addresses(), placed(rest, place::FREE), settings.homes) == home
        {
            farthest = distance;
        }
    }
    farthest
}
