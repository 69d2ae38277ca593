//! Arithmetic on plain numbers.

/// Maps 32 random bits to a number below `range`: equal shares of all values of `random` go to each result, to within
/// one. 0 when `range` is 0.
///
/// The upper bits of `random` decide, and a larger `random` never gives a smaller result. A multiplication and a shift
/// take the place of a division (Lemire, "Fast Random Integer Generation in an Interval", 2019, section 3).
#[inline(always)]
pub const fn scale(random: u32, range: u32) -> u32 {
    ((random as u64 * range as u64) >> 32) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::scale;

    #[test]
    fn the_ends_of_the_range() {
        for range in [1, 2, 3, 64_512, 1 << 31, u32::MAX] {
            assert_eq!((scale(0, range), scale(u32::MAX, range)), (0, range - 1), "{range}");
        }
        assert_eq!([0, 1, u32::MAX].map(|random| scale(random, 0)), [0; 3]);
    }

    #[test]
    fn equal_shares() {
        // The smallest value that is mapped to each result: a third of 2^32 apart, rounded up.
        let first = |result: u64| ((result << 32).div_ceil(3)) as u32;
        for result in 0..3 {
            assert_eq!(scale(first(result.into()), 3), result);
            assert!(result == 0 || scale(first(result.into()) - 1, 3) == result - 1);
        }
    }

    proptest! {
        #[test]
        fn below_the_range_and_in_order(a: u32, b: u32, range in 1u32..) {
            prop_assert!(scale(a, range) < range);
            prop_assert!(scale(a.min(b), range) <= scale(a.max(b), range));
        }
    }
}
