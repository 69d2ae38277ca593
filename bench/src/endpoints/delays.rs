//! How long packets took: a histogram with buckets of three per cent.

use nat_bench_ebpf::layout::endpoints::{BUCKETS, bucket_of};

/// Delays in nanoseconds, counted by bucket.
#[derive(Clone, Debug)]
pub struct Delays {
    counts: Vec<u64>,
    longest: u64,
}

impl Default for Delays {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS as usize], longest: 0 }
    }
}

impl Delays {
    /// From the receiver's counters.
    pub fn of_counts(counts: Vec<u64>) -> Self {
        let last = counts.iter().rposition(|c| *c != 0).unwrap_or_default();
        Self { longest: floor_of(last as u32 + 1), counts }
    }

    /// Adds one delay.
    pub fn add(&mut self, ns: u64) {
        if let Some(count) = self.counts.get_mut(bucket_of(ns) as usize) {
            *count += 1;
        }
        self.longest = self.longest.max(ns);
    }

    /// Adds all of another's.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.longest = self.longest.max(other.longest);
    }

    /// What this has and an earlier reading of the same counters had not.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self::of_counts(self.counts.iter().zip(&earlier.counts).map(|(now, then)| now - then).collect())
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The delay, in microseconds, that a share of all does not exceed, to three per cent; zero without any.
    pub fn quantile(&self, share: f64) -> f64 {
        let wanted = (self.count() as f64 * share).ceil();
        let mut sum = 0;
        for (bucket, count) in (0u32..).zip(&self.counts) {
            sum += count;
            if *count != 0 && sum as f64 >= wanted {
                return f64::midpoint(floor_of(bucket) as f64, floor_of(bucket + 1) as f64) / 1000.0;
            }
        }
        0.0
    }

    /// The longest, in microseconds.
    pub fn longest(&self) -> f64 {
        self.longest as f64 / 1000.0
    }
}

/// The smallest delay, in nanoseconds, that falls into a bucket.
fn floor_of(bucket: u32) -> u64 {
    // bucket_of puts 32 into each doubling, and counts singly below.
    let (octave, step) = (bucket / 32, u64::from(bucket % 32));
    if octave == 0 { step } else { (32 + step) << (octave - 1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_begins_where_it_says() {
        for bucket in 0..BUCKETS {
            let floor = floor_of(bucket);
            assert_eq!(bucket_of(floor), bucket, "{floor} ns");
            assert!(floor == 0 || bucket_of(floor - 1) == bucket - 1, "{floor} ns");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles() {
        let mut delays = Delays::default();
        (1..=1000).for_each(|us| delays.add(us * 1000));
        for (share, want) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0)] {
            let got = delays.quantile(share);
            assert!((got / want - 1.0).abs() < 0.03, "{share}: {got}");
        }
        assert!((delays.longest() - 1000.0).abs() < f64::EPSILON);
    }
}
