//! Time as a flow entry keeps it: 31 bits of ticks and one bit for "dead".
//!
//! The clock is the kernel's coarse monotonic clock (`bpf_ktime_get_coarse_ns`, `CLOCK_MONOTONIC_COARSE`). A tick is
//! 2^26 ns, 67.1 ms, so that a stamp is one shift of it. 31 bits of ticks wrap after 4.57 years; ages are computed
//! modulo that, and are right for all of it but the last minute ([`MAX_AGE`]). So an entry that nobody collects, because
//! no daemon runs, is not taken for a young one by a wrap for 4.57 years.
//!
//! The clock stands still while the host is suspended. Expiry is late by the time suspended, never early.
//!
//! A dead stamp says *when* the reaper condemned the entry. That gives the packet path a window,
//! [`REVIVE_WINDOW`], in which it may still take a condemned pair back by compare-and-swap, and the
//! reaper a moment, [`DELETE_AFTER`], after which nobody can be looking at the element any more.

use bytemuck::{Pod, Zeroable};

const DEAD: u32 = 1 << 31;
const MASK: u32 = DEAD - 1;

/// A tick is 2 to the power of this in nanoseconds.
const TICK_SHIFT: u32 = 26;

/// A span of time in ticks of 67.1 ms.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Pod, Zeroable)]
pub struct Ticks(pub u32);

impl Ticks {
    /// Milliseconds, rounded up. The only way from configured times to compared ones.
    pub const fn from_ms(ms: u32) -> Self {
        Self((ms as u64 * 1_000_000).div_ceil(1 << TICK_SHIFT) as u32)
    }

    /// By how much two stamps differ when at least so many milliseconds lie between them: each was rounded down.
    pub const fn proof_of_ms(ms: u32) -> Self {
        Self::from_ms(ms).plus(Self(1))
    }

    /// Milliseconds, rounded up.
    pub const fn ms(self) -> u64 {
        ((self.0 as u64) << TICK_SHIFT).div_ceil(1_000_000)
    }

    /// The sum, which fits for all spans that stamps can tell.
    #[must_use]
    #[inline(always)]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// The span less `other`.
    #[must_use]
    #[inline(always)]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The shorter of two spans.
    #[must_use]
    pub const fn min(self, other: Self) -> Self {
        if other.0 < self.0 { other } else { self }
    }

    /// The longer of two spans.
    #[must_use]
    pub const fn max(self, other: Self) -> Self {
        if other.0 > self.0 { other } else { self }
    }
}

/// How far ahead another CPU's clock may be before a stamp counts as very old instead.
const FUTURE: Ticks = Ticks::from_ms(60_000);

/// The longest age that is told from the future: 4.57 years less a minute.
pub const MAX_AGE: Ticks = Ticks(MASK - FUTURE.0);

/// A stamp is written only when it moved by this much, so a busy flow dirties its line four times a second.
pub const TOUCH: Ticks = Ticks::from_ms(250);

/// After condemning a pair, how long a packet from inside may take it back.
pub const REVIVE_WINDOW: Ticks = Ticks::from_ms(500);

/// How far past [`REVIVE_WINDOW`] a condemnation for good is back-dated: a packet may have read its clock a
/// little before the reaper did.
pub const CLOCK_SKEW: Ticks = Ticks::from_ms(100);

/// After condemning a pair, when the reaper may delete it: 1.6 s, or [`GONE_AFTER_MS`] when it was condemned for good. A
/// program run takes microseconds; the gap to [`REVIVE_WINDOW`] covers a virtual CPU that was descheduled in the middle
/// of one.
pub const DELETE_AFTER: Ticks = Ticks::proof_of_ms(1_600);

/// How long at least an entry stays where it is after its death, whatever it died of. No slot of the table is given to
/// another flow sooner than this after a packet could last have used it.
pub const GONE_AFTER_MS: u64 = DELETE_AFTER.minus(REVIVE_WINDOW).minus(CLOCK_SKEW).minus(Ticks(1)).ms();
const _: () = assert!(GONE_AFTER_MS >= 900);

/// A moment, or the moment of death.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Stamp {
    /// Ticks of the coarse monotonic clock modulo 2^31; the top bit marks a condemned entry.
    pub word: u32,
}

impl Stamp {
    /// From the coarse monotonic clock in nanoseconds, rounded down to a tick.
    #[inline(always)]
    pub const fn from_ns(ns: u64) -> Self {
        Self { word: (ns >> TICK_SHIFT) as u32 & MASK }
    }

    /// Whether the reaper condemned the entry.
    #[inline(always)]
    pub const fn is_dead(self) -> bool {
        self.word & DEAD != 0
    }

    /// This moment as a condemnation.
    #[must_use]
    #[inline(always)]
    pub const fn dead(self) -> Self {
        Self { word: self.word | DEAD }
    }

    /// A condemnation that no packet may undo: back-dated past the revival window.
    #[must_use]
    #[inline(always)]
    pub const fn dead_for_good(self) -> Self {
        Self { word: (self.word.wrapping_sub(REVIVE_WINDOW.0 + CLOCK_SKEW.0) & MASK) | DEAD }
    }

    /// Time from this moment (or condemnation) to `now`; 0 for a stamp slightly in the future, which another CPU may
    /// have written.
    #[inline(always)]
    pub const fn age(self, now: Self) -> Ticks {
        let age = now.word.wrapping_sub(self.word) & MASK;
        if age > MAX_AGE.0 { Ticks(0) } else { Ticks(age) }
    }

    /// Whether it was written less than `limit` ago and is not dead, in one comparison for the fast path. `now` is alive, and
    /// `limit` at most [`MAX_AGE`].
    ///
    /// The dead bit is put on top of an age that has none: their difference alone would lose it to a wrap. A stamp
    /// slightly in the future is not fresh, and the caller then asks properly.
    #[inline(always)]
    pub const fn is_fresh(self, now: Self, limit: Ticks) -> bool {
        (now.word.wrapping_sub(self.word) & MASK) | (self.word & DEAD) < limit.0
    }

    /// The later of two moments, dead or not.
    #[must_use]
    #[inline(always)]
    pub const fn later(self, other: Self, now: Self) -> Self {
        if self.age(now).0 <= other.age(now).0 { self } else { other }
    }
}

crate::map_value!(Stamp, Ticks);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The stamp of a moment, anywhere on the circle.
    fn at(ticks: u32) -> Stamp {
        Stamp { word: ticks & MASK }
    }

    fn ago(now: Stamp, age: u32) -> Stamp {
        at(now.word.wrapping_sub(age))
    }

    /// Moments of which many are near the wrap, where mistakes live.
    fn moments() -> impl Strategy<Value = u32> {
        prop_oneof![0..=MASK, 0..2000_u32, MASK - 2000..=MASK]
    }

    fn spans(most: Ticks) -> impl Strategy<Value = u32> {
        prop_oneof![0..=most.0, 0..2000_u32.min(most.0), most.0.saturating_sub(2000)..=most.0]
    }

    proptest! {
        #[test]
        fn an_age_is_right_up_to_the_longest(now in moments(), age in spans(MAX_AGE)) {
            let now = at(now);
            prop_assert_eq!(ago(now, age).age(now), Ticks(age));
            prop_assert_eq!(ago(now, age).dead().age(now), Ticks(age), "a condemnation has an age");
        }

        #[test]
        fn another_cpus_clock_is_not_years_ago(now in moments(), ahead in 1..=FUTURE.0) {
            prop_assert_eq!(at(now + ahead).age(at(now)), Ticks(0));
        }

        #[test]
        fn the_dead_are_never_fresh(now in moments(), then in moments(), limit in spans(MAX_AGE)) {
            prop_assert!(!at(then).dead().is_fresh(at(now), Ticks(limit)));
            prop_assert!(!at(then).dead_for_good().is_fresh(at(now), Ticks(limit)));
        }

        #[test]
        fn fresh_is_younger_than_the_limit(now in moments(), age in spans(MAX_AGE), limit in spans(MAX_AGE)) {
            let now = at(now);
            prop_assert_eq!(ago(now, age).is_fresh(now, Ticks(limit)), age < limit);
            prop_assert_eq!(ago(now, limit).is_fresh(now, Ticks(limit)), false, "exactly at the limit");
        }

        #[test]
        fn the_later_of_two(now in moments(), a in spans(MAX_AGE), b in spans(MAX_AGE)) {
            let now = at(now);
            prop_assert_eq!(ago(now, a).later(ago(now, b), now), ago(now, a.min(b)));
        }

        #[test]
        fn condemned_for_good_is_past_revival_but_not_yet_deletable(now in moments(), behind in 0..=CLOCK_SKEW.0) {
            let now = at(now);
            let dead = now.dead_for_good();
            prop_assert!(dead.is_dead());
            prop_assert!(dead.age(now) < DELETE_AFTER);
            prop_assert!(dead.age(ago(now, behind)) >= REVIVE_WINDOW, "to a packet that is a little behind");
        }

        #[test]
        fn a_stamp_is_the_clock_rounded_down(ns in 0..u64::MAX / 2, more in 0..1u64 << 40) {
            prop_assert_eq!(u64::from(Stamp::from_ns(ns).word), (ns >> TICK_SHIFT) % (1 << 31));
            let age = Stamp::from_ns(ns).age(Stamp::from_ns(ns + more));
            prop_assert!((u64::from(age.0) + 1) << TICK_SHIFT > more && u64::from(age.0) << TICK_SHIFT < more + (1 << TICK_SHIFT));
        }

        #[test]
        fn spans_round_up(ms in 0..=u32::MAX / 2) {
            let ticks = Ticks::from_ms(ms);
            prop_assert!(ticks.ms() >= u64::from(ms) && ticks.ms() <= u64::from(ms) + 68);
        }

        #[test]
        fn a_proof_is_one(ns in 0..u64::MAX / 2, more in 0..10_000_000_000u64, ms in 0..10_000u32) {
            let age = Stamp::from_ns(ns).age(Stamp::from_ns(ns + more));
            prop_assert!(age < Ticks::proof_of_ms(ms) || more >= u64::from(ms) * 1_000_000);
        }
    }

    /// What went wrong when the dead bit and the wrap cancelled each other out.
    #[test]
    fn a_dead_stamp_before_the_wrap_is_not_fresh_after_it() {
        assert!(!Stamp { word: u32::MAX }.is_fresh(at(5), Ticks(1_000)));
        assert!(at(MASK).is_fresh(at(5), Ticks(1_000)));
    }
}
