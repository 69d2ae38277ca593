//! The flow table: an ARRAY of slots, each a cache line that holds one [`FlowEntry`](crate::FlowEntry).
//!
//! A key's hash names its *home* slot. Its entry stands there or in one of the [`REACH`] - 1 slots after it; how many slots
//! lie in between is its *probe distance*. Twice as many slots as entries keep nearly all of them at home, so that a lookup
//! reads one line: the kernel's hash map reads three, two of them through the TLB entries of other pages. Entries never
//! move, so a lookup takes no lock.
//!
//! The algorithm is in this module and generic over the memory that it works on ([`memory`]): the packet path runs it over
//! map memory, `tests/table` runs the same code under a model checker.
//!
//! Each slot also keeps, in the upper half of its entry's `seen`, a [`ProbeBound`] for the keys whose home it is: how far a
//! search has to look, and a version. Two kinds of writers change it:
//!
//! - An insertion reads the home's bound, searches for the key, reserves a free slot ([`SlotState::PENDING`]), writes it, and
//!   then replaces the bound by its next version. If that fails, because another CPU changed the bound, it gives the slot
//!   back and starts over. Two insertions of one key have one home, so only one of them succeeds. Then the entry becomes
//!   [`SlotState::LIVE`].
//! - A removal frees the slot. If the entry was the farthest one, it looks for the farthest that is left and lowers the bound,
//!   unless the bound changed meanwhile.
//!
//! # What is assumed about time
//!
//! No packet's processing lasts longer than [`GONE_AFTER_MS`](crate::stamp::GONE_AFTER_MS), 0.9 s. Only the reaper removes
//! live entries, also those of births that are undone, and not before that time has passed since the entry's death. Two
//! things follow:
//!
//! - Whoever found an entry alive, and its key still there *after* that, may write to it until its packet is done. One look at
//!   the key before the stamp does not do: the entry may have been dead, and the stamp may be the next flow's.
//! - A bound changes at most 256 times during a packet: in that time each of its 128 slots can be freed once and taken once.
//!   Its version counts to 512, so a compare-and-swap on it never takes a changed bound for an unchanged one.
//!
//! `tests/table` has the model of this assumption, and shows what goes wrong without it.
//!
//! The hash is keyed: NH (Black et al., UMAC, 1999; RFC 4418) over the key's four words, then a multiplication, so
//! that nobody who cannot read the key can choose whose home slot is busy.

mod bound;
pub mod find;
pub mod insert;
pub mod life;
pub mod memory;
pub mod remove;
mod size;
mod state;

pub use bound::ProbeBound;
pub use size::{MOST_FLOWS, REACH, SLOTS_PER_FLOW, capacity, homes, max_flows, slots};
pub use state::SlotState;

use bytemuck::{Pod, Zeroable};

use crate::stamp::Stamp;

/// The one element of `TAKEN`. Eight bytes, so that it can be mapped.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Occupancy {
    /// Entries in the table; changed by atomic operations only.
    pub entries: u32,
    /// When a search for a port was last in vain: for a second after it, claims look up whether it was for theirs.
    pub scarce: Stamp,
}

crate::map_value!(Occupancy);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nh::tests::{KEY, tuple};

    /// Neighbouring hosts and ports in sequence, as real clients use them, do not collide: at capacity everything fits,
    /// and most entries are at home.
    #[test]
    fn a_full_table_has_room_for_everybody() {
        const FLOWS: u32 = 200_000;
        let homes = FLOWS * SLOTS_PER_FLOW;
        let mut taken = vec![false; slots(FLOWS) as usize];
        let mut at_home = 0;
        for n in 0..2 * FLOWS {
            let home = KEY.home(&tuple(n >> 10, 32_768 + (n & 1023) as u16, n & 3), homes);
            let distance = (0..REACH).find(|d| !taken[(home + d) as usize]).expect("no slot within reach");
            taken[(home + distance) as usize] = true;
            at_home += u32::from(distance == 0);
        }
        assert!(at_home > FLOWS * 2 * 7 / 10, "{at_home} of {}", 2 * FLOWS);
    }
}
