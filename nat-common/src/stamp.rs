//! Time as a flow entry keeps it: 31 bits of milliseconds and one bit for "dead".
//!
//! The clock is the kernel's coarse monotonic clock (`bpf_ktime_get_coarse_ns`,
//! `CLOCK_MONOTONIC_COARSE`). 31 bits wrap after 24.8 days; ages are computed modulo that, so they are
//! right up to [`MAX_AGE_MS`], which bounds every configurable timeout.
//!
//! A dead stamp says *when* the reaper condemned the entry. That gives the packet path a window,
//! [`REVIVE_WINDOW_MS`], in which it may still take a condemned pair back by compare-and-swap, and the
//! reaper a moment, [`DELETE_AFTER_MS`], after which nobody can be looking at the element any more.

use bytemuck::{Pod, Zeroable};

const DEAD: u32 = 1 << 31;
const MASK: u32 = DEAD - 1;

/// The longest timeout that can be configured, and the longest age that is told from the future: 12 days.
pub const MAX_AGE_MS: u32 = 12 * 24 * 3600 * 1000;

/// A stamp is written only when it moved by this much, so a busy flow dirties its line four times a second.
pub const TOUCH_MS: u32 = 250;

/// After condemning a pair, how long a packet from inside may take it back.
pub const REVIVE_WINDOW_MS: u32 = 500;

/// How far past [`REVIVE_WINDOW_MS`] a condemnation for good is back-dated: a packet may have read its clock a
/// few ticks before the reaper did.
pub const CLOCK_SKEW_MS: u32 = 100;

/// After condemning a pair, when the reaper may delete it. A program run takes microseconds; the gap to
/// [`REVIVE_WINDOW_MS`] covers a virtual CPU that was descheduled in the middle of one.
pub const DELETE_AFTER_MS: u32 = 1_600;

/// How far ahead another CPU's clock tick may be before a stamp counts as very old instead.
const FUTURE_MS: u32 = 60_000;

/// A moment, or the moment of death.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Stamp {
    /// Milliseconds of the coarse monotonic clock modulo 2^31; the top bit marks a condemned entry.
    pub ms: u32,
}

impl Stamp {
    /// From the coarse monotonic clock in nanoseconds. Up to 2 ms late, and 3 billionths slow.
    ///
    /// Every packet does this, and BPF divides by dividing: so 2^20 ns are taken for a millisecond, and the 4.8576 % that
    /// they are longer are added. No overflow for 146 years.
    #[inline(always)]
    pub const fn from_ns(ns: u64) -> Self {
        let units = ns >> 20;
        Self { ms: (units + ((units * 3_259_880) >> 26)) as u32 & MASK }
    }

    /// Whether the reaper condemned the entry.
    #[inline(always)]
    pub const fn is_dead(self) -> bool {
        self.ms & DEAD != 0
    }

    /// This moment as a condemnation.
    #[must_use]
    #[inline(always)]
    pub const fn dead(self) -> Self {
        Self { ms: self.ms | DEAD }
    }

    /// A condemnation that no packet may undo: back-dated past the revival window.
    #[must_use]
    #[inline(always)]
    pub const fn dead_for_good(self) -> Self {
        Self { ms: (self.ms.wrapping_sub(REVIVE_WINDOW_MS + CLOCK_SKEW_MS) & MASK) | DEAD }
    }

    /// Milliseconds from this moment (or condemnation) to `now`; 0 for a stamp slightly in the future,
    /// which another CPU may have written.
    #[inline(always)]
    pub const fn age_ms(self, now: Self) -> u32 {
        let age = now.ms.wrapping_sub(self.ms) & MASK;
        if age > MASK - FUTURE_MS { 0 } else { age }
    }

    /// The fast path's whole question: written within `limit_ms` and not dead?
    ///
    /// One subtraction: a dead bit or a wrap makes the difference huge, and the caller then asks properly.
    #[inline(always)]
    pub const fn is_fresh(self, now: Self, limit_ms: u32) -> bool {
        now.ms.wrapping_sub(self.ms) < limit_ms
    }

    /// The later of two moments, neither dead.
    #[must_use]
    #[inline(always)]
    pub const fn later(self, other: Self, now: Self) -> Self {
        if self.age_ms(now) <= other.age_ms(now) { self } else { other }
    }
}

crate::map_value!(Stamp);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u32) -> Stamp {
        Stamp { ms: ms & MASK }
    }

    #[test]
    fn ages() {
        assert_eq!(at(1_000).age_ms(at(1_500)), 500);
        assert_eq!(at(MASK - 9).age_ms(at(10)), 20, "across the wrap");
        assert_eq!(at(1_004).age_ms(at(1_000)), 0, "another CPU's clock tick is not 24 days ago");
        assert_eq!(at(0).age_ms(at(MAX_AGE_MS)), MAX_AGE_MS);
        assert_eq!(at(77).dead().age_ms(at(177)), 100, "a condemnation has an age");
    }

    #[test]
    fn milliseconds_without_a_division() {
        let mut before = 0;
        for ns in (0..40u64)
            .flat_map(|p| [(1 << p) - 1, 1 << p, 3 << p, 0x1234_5678_9abc >> p])
            .chain([u64::MAX >> 4])
        {
            let exact = ns / 1_000_000;
            let ms = Stamp::from_ns(ns).ms;
            let behind = (exact as u32 & MASK).wrapping_sub(ms) & MASK;
            let slow = (exact / 300_000_000) as u32;
            assert!(behind <= 2 + slow, "{ns} ns: {ms} for {exact}");
        }
        for second in 0..100_000u64 {
            let ms = Stamp::from_ns(second * 1_000_000_000).ms;
            assert!(ms >= before, "never backwards");
            before = ms;
        }
    }

    #[test]
    fn freshness() {
        assert!(at(1_000).is_fresh(at(1_999), 1_000));
        assert!(!at(1_000).is_fresh(at(2_000), 1_000));
        assert!(!at(1_000).dead().is_fresh(at(1_000), MAX_AGE_MS), "dead is never fresh");
        assert!(!at(MASK).is_fresh(at(5), 1_000), "a wrap goes the careful way");
    }

    #[test]
    fn condemned_for_good_is_past_revival_but_not_yet_deletable() {
        for now in [0, 10, 499, 500, 1_000_000, MASK] {
            let age = at(now).dead_for_good().age_ms(at(now));
            assert!((REVIVE_WINDOW_MS..DELETE_AFTER_MS).contains(&age), "{now}: {age}");
            let earlier = at(now.wrapping_sub(50));
            assert!(
                at(now).dead_for_good().age_ms(earlier) >= REVIVE_WINDOW_MS,
                "to a packet a few ticks behind"
            );
        }
    }

    #[test]
    fn later_of_two() {
        let now = at(5);
        assert_eq!(at(MASK).later(at(2), now), at(2));
        assert_eq!(at(2).later(at(MASK), now), at(2));
    }
}
