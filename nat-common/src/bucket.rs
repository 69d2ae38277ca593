//! A token bucket in one word: the generic cell rate algorithm (ITU-T I.371), which keeps the time at which the bucket
//! will be full again instead of a count that must be filled up.

use bytemuck::{Pod, Zeroable};

/// One bucket. All zero is a full one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Bucket {
    /// When the bucket is full again, in nanoseconds of the clock that [`Bucket::take`] is given.
    full_at: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Bucket {
    /// Takes a token at time `now` (nanoseconds) from a bucket that holds `burst` of them and gets `rate` a second.
    /// `false` when there is none, or when either is 0.
    #[inline(always)]
    pub const fn take(&mut self, now: u64, rate: u32, burst: u32) -> bool {
        if rate == 0 || burst == 0 {
            return false;
        }
        let interval = SECOND / rate as u64;
        let from = if self.full_at > now { self.full_at } else { now };
        if from - now > interval * (burst as u64 - 1) {
            return false;
        }
        self.full_at = from + interval;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_full_bucket_gives_its_burst_and_then_the_rate() {
        let mut bucket = Bucket::default();
        let now = 77 * SECOND;
        assert_eq!((0..100).filter(|_| bucket.take(now, 5, 5)).count(), 5);
        assert!(!bucket.take(now + SECOND / 5 - 1, 5, 5));
        assert!(bucket.take(now + SECOND / 5, 5, 5));
        assert!(!bucket.take(now + SECOND / 5, 5, 5));
        assert_eq!(
            (0..100).filter(|_| bucket.take(now + 60 * SECOND, 5, 5)).count(),
            5,
            "no more than a burst"
        );
    }

    #[test]
    fn nothing_is_nothing() {
        assert!(!Bucket::default().take(SECOND, 0, 10));
        assert!(!Bucket::default().take(SECOND, 10, 0));
    }

    proptest! {
        /// Over any span: at most a burst, and the rate times the span.
        #[test]
        fn never_more_than_burst_and_rate(
            rate in 1u32..100_000, burst in 1u32..5_000, steps in proptest::collection::vec(0u64..50_000_000, 1..400),
        ) {
            let (mut bucket, mut now, mut taken) = (Bucket::default(), 1u64, 0u64);
            let start = now;
            for step in steps {
                now += step;
                taken += u64::from(bucket.take(now, rate, burst));
                let interval = SECOND / u64::from(rate);
                prop_assert!(taken <= u64::from(burst) + (now - start) / interval);
            }
        }
    }
}
