//! Memory of the flow table as the model checker sees it: `loom` atomics with the orderings that
//! `nat_common::table::memory` asks for, and no stronger ones. A [`Mutant`] weakens one of them.

use loom::sync::atomic::{Ordering, fence};
use nat_common::table::memory::{Key, Slot, Slots, Table};
use nat_common::table::{ProbeBound, SlotState, find, insert, remove};
use nat_common::{HopStamp, Stamp};

use crate::word::{Word32, Word64};

use Ordering::{AcqRel, Acquire, Relaxed, Release};

/// What is wrong with the memory. Each is a line of `memory.rs` that somebody might get wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Nothing.
    None,
    /// The first word is read without acquire.
    RelaxedAddresses,
    /// The second word is read without acquire.
    RelaxedRest,
    /// The bound is read without acquire.
    RelaxedBound,
    /// The bound is replaced without acquire and release.
    RelaxedReplaceBound,
    /// The bound is stored, whatever was there.
    BlindReplaceBound,
    /// A bound has no version.
    NoVersion,
    /// A slot is reserved by a store.
    BlindReserve,
    /// No release fence follows a reservation.
    NoReleaseAfterReserve,
    /// An entry is published without release.
    RelaxedPublish,
    /// A live slot is freed by a store.
    BlindVacate,
    /// The stamp is read without acquire and first written without release.
    RelaxedLast,
    /// The stamp is written before the other fields.
    LastFirst,
    /// The key is looked at again without an acquire fence.
    NoAcquire,
    /// The key is not looked at again.
    NoSecondLook,
    /// The entry's half of `seen` is written together with the other half.
    WholeFlags,
    /// A stamp is stored, whatever was there.
    BlindLast,
    /// The count of entries is stored, whatever was there.
    BlindTaken,
}

/// What is to be checked: the memory's mutant, and how many bits of a bound's version it keeps.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    pub mutant: Mutant,
    pub version_bits: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self { mutant: Mutant::None, version_bits: 9 }
    }
}

impl From<Mutant> for Rules {
    fn from(mutant: Mutant) -> Self {
        let version_bits = if mutant == Mutant::NoVersion { 0 } else { 9 };
        Self { mutant, version_bits }
    }
}

impl Rules {
    fn is(self, mutant: Mutant) -> bool {
        self.mutant == mutant
    }

    /// The ordering that the algorithm asks for, or none.
    fn unless(self, mutant: Mutant, ordering: Ordering) -> Ordering {
        if self.is(mutant) { Relaxed } else { ordering }
    }

    fn bound(self, bound: ProbeBound) -> u32 {
        let lost = !((1 << (16 + 7 + self.version_bits)) - 1_u64) as u32;
        bound.word & !lost
    }
}

/// One slot's words.
pub struct Cells {
    addresses: Word64,
    rest: Word64,
    seen: Word32,
    last: Word32,
    hop: Word32,
    value: [Word64; 2],
}

impl Cells {
    fn new(cpus: usize) -> Self {
        Self {
            addresses: Word64::new(0, cpus),
            rest: Word64::new(0, cpus),
            seen: Word32::new(0, cpus),
            last: Word32::new(0, cpus),
            hop: Word32::new(HopStamp::UNRESOLVED.word, cpus),
            value: [Word64::new(0, cpus), Word64::new(0, cpus)],
        }
    }
}

/// What is inserted beside the key. All of an entry's fields but `seen`, `last` and `hop` are the two halves of `id`'s copies: a
/// reader that sees two different ones has read a torn entry.
#[derive(Clone, Copy, Debug)]
pub struct Value {
    /// Names the entry. Its lower half is the number of the pair's key.
    pub id: u64,
    /// The entry's half of `seen`.
    pub flags: u32,
    /// Stamp and hop, where a scenario needs them: each word costs the checker time.
    pub life: Option<(Stamp, HopStamp)>,
}

impl Value {
    pub fn new(id: u64) -> Self {
        Self { id, flags: 0, life: None }
    }
}

/// The `n`-th key. Its home is `n` modulo the number of homes. Four in a row have the same second word: only the addresses tell
/// them apart.
pub fn key(n: u64) -> Key {
    Key { addresses: n, rest: 0x1000 + n / 4 }
}

/// A cursor of one CPU to one slot.
#[derive(Clone, Copy)]
pub struct Cursor<'a> {
    cells: &'a Cells,
    rules: Rules,
    cpu: usize,
}

impl Cursor<'_> {
    /// Both copies of the entry's `id`.
    pub fn value(self) -> [u64; 2] {
        [self.cells.value[0].load(self.cpu, Relaxed), self.cells.value[1].load(self.cpu, Relaxed)]
    }

    /// The word with the bound and the flags.
    pub fn seen(self) -> u32 {
        self.cells.seen.load(self.cpu, Relaxed)
    }

    /// [`nat_common::table::find::is_still`], or not.
    pub fn is_still(self, key: Key) -> bool {
        self.rules.is(Mutant::NoSecondLook) || find::is_still(self, key)
    }
}

impl Slot for Cursor<'_> {
    type Value = Value;

    fn addresses(self) -> u64 {
        self.cells.addresses.load(self.cpu, self.rules.unless(Mutant::RelaxedAddresses, Acquire))
    }

    fn rest(self) -> u64 {
        self.cells.rest.load(self.cpu, self.rules.unless(Mutant::RelaxedRest, Acquire))
    }

    fn bound(self) -> ProbeBound {
        ProbeBound { word: self.cells.seen.load(self.cpu, self.rules.unless(Mutant::RelaxedBound, Acquire)) }
    }

    fn replace_bound(self, old: ProbeBound, new: ProbeBound) -> bool {
        let new = self.rules.bound(new);
        if self.rules.is(Mutant::BlindReplaceBound) {
            self.cells.seen.store(self.cpu, new, Release);
            return true;
        }
        self.cells.seen.replace(
            self.cpu,
            old.word,
            new,
            self.rules.unless(Mutant::RelaxedReplaceBound, AcqRel),
        )
    }

    fn reserve(self, pending: u64) -> bool {
        let is_reserved = if self.rules.is(Mutant::BlindReserve) {
            self.cells.rest.store(self.cpu, pending, Release);
            true
        } else {
            self.cells.rest.replace(self.cpu, 0, pending, Acquire)
        };
        if !self.rules.is(Mutant::NoReleaseAfterReserve) {
            fence(Release);
        }
        is_reserved
    }

    fn write(self, addresses: u64, value: &Value) {
        if self.rules.is(Mutant::LastFirst)
            && let Some((last, _)) = value.life
        {
            self.cells.last.store(self.cpu, last.word, Release);
        }
        self.cells.addresses.store(self.cpu, addresses, Relaxed);
        self.cells.value[0].store(self.cpu, value.id, Relaxed);
        self.cells.value[1].store(self.cpu, value.id, Relaxed);
        if let Some((last, hop)) = value.life {
            self.cells.hop.store(self.cpu, hop.word, Relaxed);
            self.cells.last.store(self.cpu, last.word, self.rules.unless(Mutant::RelaxedLast, Release));
        }
    }

    /// The packet path stores half a word, which `loom` has no notion of. It is coherent with accesses to the whole word on
    /// x86-64 and arm64, as one read-modify-write is.
    fn write_flags(self, value: &Value) {
        if self.rules.is(Mutant::WholeFlags) {
            let seen = self.cells.seen.load(self.cpu, Relaxed);
            self.cells.seen.store(self.cpu, seen & ProbeBound::MASK | value.flags, Relaxed);
        } else {
            self.cells.seen.replace_bits(self.cpu, !ProbeBound::MASK, value.flags);
        }
    }

    fn publish(self, live: u64) {
        self.cells.rest.store(self.cpu, live, self.rules.unless(Mutant::RelaxedPublish, Release));
    }

    fn unreserve(self) {
        self.cells.rest.store(self.cpu, 0, Release);
    }

    fn vacate(self, live: u64) -> bool {
        if self.rules.is(Mutant::BlindVacate) {
            self.cells.rest.store(self.cpu, 0, Release);
            return true;
        }
        self.cells.rest.replace(self.cpu, live, 0, Release)
    }

    fn acquire(self) {
        if !self.rules.is(Mutant::NoAcquire) {
            fence(Acquire);
        }
    }

    fn last(self) -> Stamp {
        Stamp { word: self.cells.last.load(self.cpu, self.rules.unless(Mutant::RelaxedLast, Acquire)) }
    }

    fn replace_last(self, old: Stamp, new: Stamp) -> bool {
        if self.rules.is(Mutant::BlindLast) {
            self.cells.last.store(self.cpu, new.word, Relaxed);
            return true;
        }
        self.cells.last.replace(self.cpu, old.word, new.word, AcqRel)
    }

    fn hop(self) -> HopStamp {
        HopStamp { word: self.cells.hop.load(self.cpu, Relaxed) }
    }

    fn replace_hop(self, old: HopStamp, new: HopStamp) -> bool {
        self.cells.hop.replace(self.cpu, old.word, new.word, AcqRel)
    }

    fn pair_key(self, _: Key) -> Key {
        key(self.cells.value[0].load(self.cpu, Relaxed) & 0xffff_ffff)
    }
}

/// A table of a few slots.
pub struct Model {
    slots: Vec<Cells>,
    taken: Word32,
    homes: u64,
    capacity: u32,
    rules: Rules,
}

/// Slots that an entry may stand in.
pub const REACH: u32 = 3;

impl Model {
    pub fn new(homes: u32, capacity: u32, cpus: usize, rules: Rules) -> Self {
        let slots = (0..homes + REACH - 1).map(|_| Cells::new(cpus)).collect();
        Self { slots, taken: Word32::new(0, cpus), homes: u64::from(homes), capacity, rules }
    }
}

/// The table as one CPU uses it.
#[derive(Clone, Copy)]
pub struct Cpu<'a> {
    pub model: &'a Model,
    pub number: usize,
}

impl Cpu<'_> {
    /// Keys of all live entries, in the order of their slots. Fails on what is left pending.
    pub fn live(self) -> Vec<u64> {
        let mut live = Vec::new();
        for cells in &self.model.slots {
            let rest = cells.rest.load(self.number, Acquire);
            match nat_common::tuple::state_of(rest) {
                SlotState::FREE => {}
                SlotState::LIVE => live.push(cells.addresses.load(self.number, Relaxed)),
                state => panic!("a slot was left in state {state}"),
            }
        }
        live
    }
}

impl<'a> Slots for Cpu<'a> {
    type Slot = Cursor<'a>;

    const REACH: u32 = REACH;

    fn slot(self, index: u32) -> Option<Cursor<'a>> {
        let cells = self.model.slots.get(index as usize)?;
        Some(Cursor { cells, rules: self.model.rules, cpu: self.number })
    }
}

impl Table for Cpu<'_> {
    fn home(self, key: Key) -> u32 {
        (key.addresses % self.model.homes) as u32
    }

    fn capacity(self) -> u32 {
        self.model.capacity
    }

    fn taken(self) -> u32 {
        self.model.taken.load(self.number, Relaxed)
    }

    fn replace_taken(self, old: u32, new: u32) -> bool {
        if self.model.rules.is(Mutant::BlindTaken) {
            self.model.taken.store(self.number, new, Relaxed);
            return true;
        }
        self.model.taken.replace(self.number, old, new, Relaxed)
    }

    fn subtract_taken(self, entries: u32) {
        self.model.taken.subtract(self.number, entries);
    }

    fn beyond(self, key: Key, home: u32) -> u32 {
        find::beyond(self, key, home)
    }

    fn is_occupied(self, key: Key, home: u32, farthest: u32) -> bool {
        insert::is_occupied(self, key, home, farthest)
    }

    fn vacancy(self, home: u32) -> u32 {
        insert::vacancy(self, home)
    }

    fn farthest(self, home: u32, limit: u32) -> u32 {
        remove::farthest(self, home, limit)
    }
}
