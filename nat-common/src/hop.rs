//! Hops: where a frame goes next, resolved once and kept in the flow entry until a generation changes.

use bytemuck::{Pod, Zeroable};

use crate::tuple::Addr;

/// Slots of `HOPGEN`. Next hops share slots by hash; sharing costs a needless re-resolution, never a wrong hop.
pub const HOP_SLOTS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 10;
const GEN_BITS: u32 = 32 - SLOT_BITS;
const GEN_MASK: u32 = (1 << GEN_BITS) - 1;

/// Managed interfaces at most: the size of the devmap.
pub const MAX_INTERFACES: u32 = 64;

/// A hop slot (upper 10 bits) and the slot's generation (lower 22), as `HOPGEN[slot]` holds it.
///
/// Keeping both in one word makes the fast path's staleness check one comparison, and leaves the flow
/// entry in one cache line. A stale entry could pass only after exactly 2^22 bumps of its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct HopStamp {
    /// `slot << 22 | generation`.
    pub word: u32,
}

impl HopStamp {
    /// Never equal to a slot's current stamp: forces a resolution.
    pub const UNRESOLVED: Self = Self { word: u32::MAX };

    /// The stamp a slot starts with.
    #[inline(always)]
    pub const fn initial(slot: u32) -> Self {
        Self { word: slot << GEN_BITS }
    }

    /// The slot, below [`HOP_SLOTS`].
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.word >> GEN_BITS
    }

    /// The same slot, one generation on. Skips the one that would read as [`Self::UNRESOLVED`].
    #[must_use]
    pub const fn bump(self) -> Self {
        let generation = match (self.word + 1) & GEN_MASK {
            GEN_MASK => 0,
            g => g,
        };
        Self { word: (self.word & !GEN_MASK) | generation }
    }
}

/// The slot of a next hop on an interface.
#[inline(always)]
pub const fn slot_of(ifindex: u32, next_hop: Addr) -> u32 {
    // Fibonacci hashing; collisions are harmless, so nothing here needs a secret.
    (next_hop.be ^ ifindex.rotate_left(16)).wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS)
}

/// Key of `IFACES` is the ifindex (u32, host order); this is its value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Iface {
    /// Index into the devmap.
    pub devmap: u16,
    /// A constant of [`crate::Side`].
    pub side: u8,
    /// Always zero.
    pub spare: u8,
    /// The interface's own address: frames for another station are not ours to translate.
    pub mac: [u8; 6],
    /// Always zero.
    pub spare2: [u8; 2],
}

/// Key of `NEXTHOPS`: a neighbour that flows are sent to, for the daemon to keep resolved.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct NextHop {
    /// Egress interface.
    pub ifindex: u32,
    /// Gateway, or the destination itself when it is on link.
    pub addr: Addr,
}

crate::map_value!(HopStamp, Iface, NextHop);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bump_changes_the_generation_and_keeps_the_slot() {
        for slot in [0, 1, HOP_SLOTS - 1] {
            let first = HopStamp::initial(slot);
            assert_eq!(first.slot(), slot);
            assert_eq!(first.bump().slot(), slot);
            assert_ne!(first.bump(), first);
        }
    }

    #[test]
    fn unresolved_is_never_current() {
        let last_slot = HopStamp::UNRESOLVED.slot();
        let mut s = HopStamp::initial(last_slot);
        for _ in 0..=(GEN_MASK + 2) {
            assert_ne!(s, HopStamp::UNRESOLVED);
            s = s.bump();
            assert_eq!(s.slot(), last_slot);
        }
    }

    #[test]
    fn slots_are_in_range_and_spread() {
        let mut seen = std::collections::HashSet::new();
        for host in 0..4096u32 {
            let slot = slot_of(3, Addr::from_octets([10, 0, (host >> 8) as u8, host as u8]));
            assert!(slot < HOP_SLOTS);
            seen.insert(slot);
        }
        assert!(seen.len() > 800, "4,096 neighbours over 1,024 slots used only {}", seen.len());
    }
}
