//! From a value to a place on the axis, and which values the axis names.

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scale {
    /// What is written below it, in order.
    pub(super) ticks: Vec<f64>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    /// From zero to this.
    Linear(f64),
    /// Powers of ten: exponents of the first and the last.
    Logarithmic(i32, i32),
}

impl Scale {
    /// From zero past `highest`, in about five round steps.
    pub(super) fn linear(highest: f64) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        let rough = highest / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0]
            .into_iter()
            .map(|factor| factor * power)
            .find(|step| *step >= rough * (1.0 - 1e-9))
            .unwrap_or(10.0 * power);
        let steps = (highest / step * (1.0 - 1e-9)).ceil().max(1.0) as u32;
        let ticks = (0..=steps).map(|index| f64::from(index) * step).collect();
        Self { ticks, kind: Kind::Linear(f64::from(steps) * step) }
    }

    /// From the power of ten below `lowest` to the one above `highest`.
    pub(super) fn logarithmic(lowest: f64, highest: f64) -> Self {
        let highest = if highest > 0.0 { highest } else { 1.0 };
        // What is zero has no place on this axis: six powers of ten are as much as it shows.
        let lowest = lowest.max(highest / 1e6);
        let last = (highest.log10() - 1e-9).ceil() as i32;
        // A bar that ends where the axis starts would look like nothing.
        let first = ((lowest.log10() - 1e-9).floor() as i32).min(last - 1);
        let ticks = (first..=last).map(|exponent| 10_f64.powi(exponent)).collect();
        Self { ticks, kind: Kind::Logarithmic(first, last) }
    }

    /// 0 at the start of the axis, 1 at its end.
    pub(super) fn position(&self, value: f64) -> f64 {
        let share = match self.kind {
            Kind::Linear(end) => value / end,
            Kind::Logarithmic(first, last) => {
                (value.max(f64::MIN_POSITIVE).log10() - f64::from(first)) / f64::from(last - first)
            }
        };
        share.clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn steps_are_round_and_cover_the_highest() {
        assert_eq!(Scale::linear(1_832.0).ticks, [0.0, 500.0, 1_000.0, 1_500.0, 2_000.0]);
        assert_eq!(Scale::linear(2_700.0).ticks, [0.0, 1_000.0, 2_000.0, 3_000.0]);
        assert_eq!(Scale::linear(1_000.0).ticks, [0.0, 200.0, 400.0, 600.0, 800.0, 1_000.0]);
        for highest in [0.003, 0.9, 1.0, 7.3, 12.5, 99.0, 101.0, 12_345.0] {
            let scale = Scale::linear(highest);
            assert!(scale.position(highest) <= 1.0 && scale.position(highest) > 0.6, "{highest}");
            assert!((3..=7).contains(&scale.ticks.len()), "{highest}: {:?}", scale.ticks);
            assert!(scale.ticks.last().is_some_and(|last| *last >= highest), "{highest}");
        }
    }

    #[test]
    fn places_linearly() {
        let scale = Scale::linear(1_000.0);
        assert!(close(scale.position(0.0), 0.0) && close(scale.position(500.0), 0.5));
        assert!(close(scale.position(1_000.0), 1.0));
    }

    #[test]
    fn places_by_powers_of_ten() {
        let scale = Scale::logarithmic(20.0, 90_000.0);
        assert_eq!(scale.ticks, [10.0, 100.0, 1_000.0, 10_000.0, 100_000.0]);
        assert!(close(scale.position(10.0), 0.0) && close(scale.position(1_000.0), 0.5));
        assert!(close(scale.position(100_000.0), 1.0));
    }

    #[test]
    fn a_bar_is_seen_on_any_axis() {
        for (lowest, highest) in [(10.0, 10.0), (100.0, 1_000.0), (7.0, 7.0), (0.0, 1_000.0)] {
            let scale = Scale::logarithmic(lowest, highest);
            assert!(scale.position(highest) > 0.5, "{lowest} {highest}: {scale:?}");
        }
        assert!(close(Scale::logarithmic(0.0, 10.0).position(0.0), 0.0));
        assert!(Scale::linear(0.0).position(0.0).abs() < 1e-9);
    }
}
