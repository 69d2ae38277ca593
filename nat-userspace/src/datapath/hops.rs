//! The table of next hops, in memory: the daemon starts new generations, views show where flows go.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use nat_common::abi::map;
use nat_common::hop::{HOP_SLOTS, HOP_WAYS, HopSlot, NextHop, slot_of};
use nat_common::nh::HashKey;
use nat_common::{Addr, HopStamp};

use super::error::Error;
use super::maps::{self, Source};
use super::memory::{self, Access, Mapping};

/// A gateway's next hops.
pub struct Hops {
    mapping: Mapping,
}

impl Hops {
    /// Opens the pinned map.
    pub fn open(source: &impl Source, access: Access) -> Result<Self, Error> {
        let map = maps::hops(source)?;
        Ok(Self { mapping: Mapping::new(&map, map::HOPS, size_of::<HopSlot>(), 0..HOP_SLOTS, access)? })
    }

    /// Gives every slot its first stamp.
    pub fn reset(&self) {
        for slot in 0..HOP_SLOTS {
            if let Some(word) = self.mapping.word(slot, offset_of!(HopSlot, stamp)) {
                word.store(HopStamp::initial(slot).word, Ordering::SeqCst);
            }
        }
    }

    /// Makes every flow that is sent to this neighbour resolve its hop again.
    pub fn bump(&self, placing: &HashKey, ifindex: u32, addr: Addr) {
        let next = NextHop { ifindex, addr };
        for slot in (0..HOP_WAYS).map(|way| slot_of(placing, &next, way)) {
            if self.slot(slot).is_some_and(|s| s.next == next) {
                self.bump_slot(slot);
            }
        }
    }

    /// Makes every flow resolve its hop again.
    pub fn bump_all(&self) {
        (0..HOP_SLOTS).for_each(|slot| self.bump_slot(slot));
    }

    /// The hop of flows with this stamp: what they use, or used until their next packet resolves it anew. `None` when
    /// the slot says something else by now.
    pub fn get(&self, stamp: HopStamp) -> Option<HopSlot> {
        self.slot(stamp.slot()).filter(|slot| slot.filled == stamp)
    }

    /// The packet path bumps too, when it gives a slot to another next hop.
    fn bump_slot(&self, slot: u32) {
        if let Some(word) = self.mapping.word(slot, offset_of!(HopSlot, stamp)) {
            let bumped = |word| Some(HopStamp { word }.bump().word);
            // Fails only where the function returns `None`.
            let _ = word.fetch_update(Ordering::SeqCst, Ordering::SeqCst, bumped);
        }
    }

    fn slot(&self, slot: u32) -> Option<HopSlot> {
        let words: [u64; size_of::<HopSlot>() / size_of::<u64>()] = memory::copy(self.mapping.words(slot)?);
        Some(bytemuck::cast(words))
    }
}
