//! The reaper's list: userspace passes candidates as the "packet" of a test run and gets them back annotated.

use bytemuck::{Pod, Zeroable};

use crate::entry::FlowEntry;
use crate::stamp::Ticks;
use crate::tcp::State;
use crate::timeouts::IdleLimits;
use crate::tuple::Tuple;

/// What the reaper is asked to do with a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReapAction {
    /// Mark the pair dead if it is past its deadline.
    Condemn = 1,
    /// Mark the pair dead whatever its deadline (`flows delete`).
    CondemnForced = 2,
    /// Delete the pair if it has been dead long enough.
    Delete = 3,
}

/// What the reaper did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ReapResult {
    /// Not reached.
    None = 0,
    /// No such flow.
    Gone = 1,
    /// The flow lives: not past its deadline, taken back, or not dead long enough.
    Alive = 2,
    /// Marked dead now, or found marked dead.
    Condemned = 3,
    /// Deleted; the record holds the final counters.
    Deleted = 4,
}

impl ReapResult {
    /// From [`ReapRecord::result`].
    pub const fn from_number(n: u32) -> Self {
        match n {
            1 => Self::Gone,
            2 => Self::Alive,
            3 => Self::Condemned,
            4 => Self::Deleted,
            _ => Self::None,
        }
    }
}

/// One candidate.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct ReapRecord {
    /// Either key of the pair.
    pub key: Tuple,
    /// [`ReapAction`] in, [`ReapResult`] out.
    pub action: u32,
    /// [`ReapResult`] as a number.
    pub result: u32,
    /// Final counters, this key's direction.
    pub packets: u64,
    /// Bytes, this key's direction.
    pub bytes: u64,
    /// Final counters, the other direction.
    pub pair_packets: u64,
    /// Bytes, the other direction.
    pub pair_bytes: u64,
    /// Flags seen, this key's direction.
    pub seen: u32,
    /// Flags seen, the other direction.
    pub pair_seen: u32,
}

/// Records in one test run: a linear XDP frame of the kernel's test runner holds a page less head and tail room.
pub const REAP_BATCH: usize = 48;

/// Whether a flow ended in silence: established or answered, never closed. First what the initiator's half has shown, then what the
/// responder's has.
pub const fn ended_idle(proto: u8, outbound_seen: u32, inbound_seen: u32) -> bool {
    matches!(State::of(proto, outbound_seen, inbound_seen), State::Established | State::Replied)
}

/// Whether an entry, seen without its pair, may be past its deadline and is worth the reaper's look.
///
/// `own_age` is the age of the entry's own stamp. Errs on the side of asking.
pub fn is_candidate(limits: &IdleLimits, key: &Tuple, entry: &FlowEntry, own_age: Ticks) -> bool {
    entry.last.is_dead() || own_age >= limits.shortest(key.proto)
}

crate::map_value!(ReapRecord);
const _: () = assert!(size_of::<ReapRecord>() * REAP_BATCH <= 3520);
