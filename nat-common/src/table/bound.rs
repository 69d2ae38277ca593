//! How far from a home slot a search has to look.

use super::size::REACH;

const DISTANCE_BITS: u32 = 7;
const DISTANCE_MASK: u32 = (1 << DISTANCE_BITS) - 1;
const _: () = assert!(REACH - 1 <= DISTANCE_MASK);

/// The probe bound of a home slot: the largest distance from it at which one of its entries may stand (7 bits), and a
/// version (9 bits) that every change increments.
///
/// It is kept in the upper half of the home slot's `seen`, whose lower half belongs to the entry in that slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeBound {
    /// The whole of `seen`.
    pub word: u32,
}

impl ProbeBound {
    /// Bits of `seen` that belong to the slot and not to the entry in it.
    pub const MASK: u32 = 0xffff_0000;

    /// The largest distance at which an entry of this home may stand, below [`REACH`].
    #[inline(always)]
    pub const fn farthest(self) -> u32 {
        self.word >> 16 & DISTANCE_MASK
    }

    /// The next version, after an insertion at `distance`.
    #[must_use]
    #[inline(always)]
    pub const fn joined(self, distance: u32) -> Self {
        if distance > self.farthest() { self.at(distance) } else { self.at(self.farthest()) }
    }

    /// The next version, with the farthest entry at `distance`.
    #[must_use]
    #[inline(always)]
    pub const fn at(self, distance: u32) -> Self {
        let version = (self.word >> (16 + DISTANCE_BITS)).wrapping_add(1);
        let upper = version << DISTANCE_BITS | distance & DISTANCE_MASK;
        Self { word: upper << 16 | self.word & !Self::MASK }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_grows_shrinks_and_never_looks_unchanged() {
        let flags = 0x8112;
        let empty = ProbeBound { word: flags };
        let one = empty.joined(5);
        assert_eq!((one.farthest(), one.word & !ProbeBound::MASK), (5, flags));
        let two = one.joined(3);
        assert_eq!(two.farthest(), 5, "the farthest is still there");
        assert_ne!(two, one, "a newcomer closer by is noticed too");
        let left = two.at(REACH - 1);
        assert_eq!(left.farthest(), REACH - 1);
        let mut bound = left;
        for _ in 0..511 {
            bound = bound.at(0);
            assert_ne!(bound, left.at(0).at(REACH - 1));
        }
        assert_eq!(bound.word & !ProbeBound::MASK, flags);
    }
}
