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
mod state;

pub use bound::ProbeBound;
pub use state::SlotState;

use bytemuck::{Pod, Zeroable};

use crate::hop::HOP_SLOTS;
use crate::stamp::Stamp;
use crate::tuple::{Addr, Tuple};

/// Slots in which an entry may stand, counted from its home. In a table that is half full, the longest run of taken slots
/// among millions is about 80.
pub const REACH: u32 = 128;

/// Slots per flow: two entries, twice the room.
pub const SLOTS_PER_FLOW: u32 = 4;

/// Flows for which the number of slots still fits: below 2^31, because the kernel's inlined lookup compares an index with
/// the number of elements as a signed constant (kernel/bpf/arraymap.c, `array_map_gen_lookup`).
pub const MOST_FLOWS: u32 = (i32::MAX as u32 - REACH) / SLOTS_PER_FLOW;

/// Elements of a table for this many flows: the last homes need slots after them.
pub const fn slots(max_flows: u32) -> u32 {
    max_flows.saturating_mul(SLOTS_PER_FLOW).saturating_add(REACH - 1)
}

/// Flows that a table of this many elements was made for; `None` when natgw makes none of that size.
pub const fn max_flows(slots: u32) -> Option<u32> {
    match slots.checked_sub(REACH - 1) {
        Some(homes) if homes > 0 && homes.is_multiple_of(SLOTS_PER_FLOW) => Some(homes / SLOTS_PER_FLOW),
        _ => None,
    }
}

/// Slots that are the home of some key.
pub const fn homes(slots: u32) -> u32 {
    slots.saturating_sub(REACH - 1)
}

/// Entries that a table of this many elements takes: two a flow.
pub const fn capacity(slots: u32) -> u32 {
    homes(slots) / SLOTS_PER_FLOW * 2
}

/// The one element of `TAKEN`. Eight bytes, so that it can be mapped.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Occupancy {
    /// Entries in the table; changed by atomic operations only.
    pub entries: u32,
    /// When a search for a port was last in vain: for a second after it, claims look up whether it was for theirs.
    pub scarce: Stamp,
}

/// Key of the hash, drawn when the table is created.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct HashKey {
    /// One for each word of a tuple.
    pub words: [u32; 4],
    /// Odd.
    pub multiplier: u64,
}

impl HashKey {
    /// The home of a key, below `homes`.
    #[inline(always)]
    pub fn home(&self, key: &Tuple, homes: u32) -> u32 {
        self.home_of(key.addresses(), key.rest_at(0), homes)
    }

    /// The same for the two words of a key, [`Tuple::addresses`] and [`Tuple::rest_at`] 0.
    #[inline(always)]
    pub const fn home_of(&self, addresses: u64, rest: u64, homes: u32) -> u32 {
        let [a, b, c, d] = self.words;
        let nh = product((addresses as u32).wrapping_add(a), ((addresses >> 32) as u32).wrapping_add(b))
            .wrapping_add(product((rest as u32).wrapping_add(c), ((rest >> 32) as u32).wrapping_add(d)));
        let mixed = (nh ^ nh >> 32).wrapping_mul(self.multiplier);
        (((mixed >> 32) * homes as u64) >> 32) as u32
    }
}

impl HashKey {
    /// One of `count` things for a client, always the same one; 0 when there are none.
    #[inline(always)]
    pub const fn choose(&self, client: Addr, count: u32) -> u32 {
        let [a, b, ..] = self.words;
        // The halves are keyed apart, or neighbours would all be a multiple of one number away from each other.
        let mixed = (product(client.be.wrapping_add(a), (client.be >> 16).wrapping_add(b))
            ^ client.be as u64)
            .wrapping_mul(self.multiplier);
        (((mixed >> 32) * count as u64) >> 32) as u32
    }
}

impl HashKey {
    /// The first of the hop slots that a next hop may stand in.
    #[inline(always)]
    pub const fn slot(&self, ifindex: u32, next_hop: Addr) -> u32 {
        let [a, b, c, d] = self.words;
        let nh = product(next_hop.be.wrapping_add(a), ifindex.wrapping_add(b)).wrapping_add(product(
            (next_hop.be >> 16).wrapping_add(c),
            next_hop.be.rotate_left(16).wrapping_add(d),
        ));
        let mixed = (nh ^ nh >> 32).wrapping_mul(self.multiplier);
        (((mixed >> 32) * HOP_SLOTS as u64) >> 32) as u32
    }
}

#[inline(always)]
const fn product(a: u32, b: u32) -> u64 {
    a as u64 * b as u64
}

crate::map_value!(HashKey, Occupancy);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tuple::Port;

    const KEY: HashKey = HashKey {
        words: [0x0123_4567, 0x89ab_cdef, 0xdead_beef, 0x1234_5678],
        multiplier: 0x9e37_79b9_7f4a_7c15,
    };

    fn tuple(host: u32, sport: u16, dst: u32) -> Tuple {
        Tuple {
            src: Addr { be: (0x0a00_0000 + host).to_be() },
            dst: Addr { be: (0xc633_6400 + dst).to_be() },
            sport: Port::new(sport),
            dport: Port::new(443),
            proto: 6,
            ..Tuple::default()
        }
    }

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

    #[test]
    fn every_field_of_the_key_and_the_secret_matter() {
        let home = |t: &Tuple| KEY.home(t, 1 << 31);
        let t = tuple(1, 1000, 1);
        for other in [
            tuple(2, 1000, 1),
            tuple(1, 1001, 1),
            tuple(1, 1000, 2),
            Tuple { dport: Port::new(80), ..t },
            Tuple { proto: 17, ..t },
            Tuple { side: 1, ..t },
        ] {
            assert_ne!(home(&t), home(&other), "{other:?}");
        }
        assert_eq!(home(&t), home(&Tuple { state: SlotState::LIVE, ..t }), "the state is no part of the key");
        let other = HashKey { words: [1, 2, 3, 4], ..KEY };
        assert_ne!(home(&t), other.home(&t, 1 << 31));
    }

    /// Sequential addresses, as clients have them, under any key.
    #[test]
    fn clients_are_spread_evenly_over_eips() {
        let mut state = 0x0123_4567_89ab_cdef_u64;
        let mut draw = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 32) as u32
        };
        for _ in 0..200 {
            let key = HashKey {
                words: [draw(), draw(), draw(), draw()],
                multiplier: u64::from(draw()) << 32 | u64::from(draw()) | 1,
            };
            for count in [2u32, 3, 8] {
                let mut clients = [0u32; 8];
                for n in 0..4096u32 {
                    let client = Addr { be: (0x0a00_0000 + n).to_be() };
                    let choice = key.choose(client, count);
                    assert!(choice < count);
                    clients[choice as usize] += 1;
                }
                let fair = 4096 / count;
                for have in &clients[..count as usize] {
                    assert!((fair * 3 / 4..=fair * 5 / 4).contains(have), "{key:?} {count}: {clients:?}");
                }
            }
        }
        assert_eq!(KEY.choose(Addr { be: 7 }, 0), 0);
    }

    #[test]
    fn sizes_go_both_ways() {
        assert_eq!(max_flows(slots(1_000_000)), Some(1_000_000));
        assert_eq!(max_flows(slots(1)), Some(1));
        assert_eq!((max_flows(2000), max_flows(0), max_flows(REACH - 1)), (None, None, None));
        assert_eq!(max_flows(slots(MOST_FLOWS)), Some(MOST_FLOWS));
    }
}
