//! How numbers look: as many digits as were measured, groups of three, the spread beside the median.

use super::section::{Cell, Sample};

/// What stands where nothing was measured.
pub const NOTHING: &str = "-";

/// Three digits that count, or all of a whole number; groups of three digits are set apart.
pub fn number(value: f64) -> String {
    if !value.is_finite() {
        return NOTHING.to_owned();
    }
    let whole = value.fract() == 0.0;
    fixed(value, if whole { 0 } else { decimals(value) })
}

/// A number that a person chose, as it was chosen: `1.1`, not `1.10`.
pub fn chosen(value: f64) -> String {
    let shown = number(value);
    if shown.contains('.') { shown.trim_end_matches('0').to_owned() } else { shown }
}

/// Median, then smallest and largest in the same precision: `1,832 (1,790..1,850)`.
pub fn sample(sample: &Sample) -> String {
    if sample.count == 0 || !sample.median.is_finite() {
        return NOTHING.to_owned();
    }
    let whole = [sample.median, sample.low, sample.high].iter().all(|value| value.fract() == 0.0);
    let digits = if whole { 0 } else { decimals(sample.median) };
    let [median, low, high] = [sample.median, sample.low, sample.high].map(|value| fixed(value, digits));
    if low == high { median } else { format!("{median} ({low}..{high})") }
}

/// A place in a table as text.
pub fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Sample(value) => sample(value),
        Cell::Number(value) => number(*value),
        Cell::Text(text) => text.clone(),
        Cell::Missing => NOTHING.to_owned(),
    }
}

/// A share as per cent: `0.123` is `12.3 %`.
pub fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = usize::from(percent.abs() < 100.0);
    format!("{} %", fixed(percent, digits))
}

/// How long it took: `8.4 s`, `3 min 12 s`.
pub fn seconds(seconds: f64) -> String {
    if seconds < 60.0 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {} s", whole / 60, whole % 60)
}

/// Digits behind the point that leave three that count.
fn decimals(value: f64) -> usize {
    match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        size if size >= 0.1 => 3,
        size if size >= 0.01 => 4,
        _ => 6,
    }
}

/// `digits` behind the point, groups of three before it.
fn fixed(value: f64, digits: usize) -> String {
    let plain = format!("{value:.digits$}");
    let (sign, rest) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = rest.split_once('.').map_or((rest, None), |(whole, part)| (whole, Some(part)));
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    match fraction {
        Some(fraction) => format!("{sign}{grouped}.{fraction}"),
        None => format!("{sign}{grouped}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_three_digits_and_groups() {
        let shown =
            [1_832.4, 999.6, 100.4, 12.34, 1.234, 0.1234, 0.012_34, 0.000_123, 14_880_952.4].map(number);
        assert_eq!(
            shown,
            ["1,832", "1,000", "100", "12.3", "1.23", "0.123", "0.0123", "0.000123", "14,880,952"]
        );
    }

    #[test]
    fn shows_whole_numbers_as_such_and_nothing_for_nonsense() {
        let shown = [0.0, 7.0, 1_000_000.0, -1_234.0, f64::NAN, f64::INFINITY].map(number);
        assert_eq!(shown, ["0", "7", "1,000,000", "-1,234", "-", "-"]);
    }

    #[test]
    fn shows_the_spread_in_the_precision_of_the_median() {
        assert_eq!(sample(&Sample::of(&[1_790.2, 1_832.4, 1_850.9])), "1,832 (1,790..1,851)");
        assert_eq!(sample(&Sample::of(&[9.96, 12.34, 140.0])), "12.3 (10.0..140.0)");
        assert_eq!(sample(&Sample::of(&[1.0, 2.0, 4.0])), "2 (1..4)");
    }

    #[test]
    fn leaves_out_a_spread_that_cannot_be_seen() {
        assert_eq!(sample(&Sample::of(&[41.0, 41.0])), "41");
        assert_eq!(sample(&Sample::of(&[41.01, 41.02])), "41.0");
        assert_eq!(sample(&Sample::of(&[])), "-");
    }

    #[test]
    fn shows_a_chosen_number_as_it_was_chosen() {
        assert_eq!([1.1, 0.95, 300.0, 2.0, 0.03].map(chosen), ["1.1", "0.95", "300", "2", "0.03"]);
    }

    #[test]
    fn says_how_long() {
        assert_eq!([8.44, 59.94, 60.0, 192.4].map(seconds), ["8.4 s", "59.9 s", "1 min 0 s", "3 min 12 s"]);
    }

    #[test]
    fn says_per_cent() {
        assert_eq!([0.042, -0.123, 1.5].map(percent), ["4.2 %", "-12.3 %", "150 %"]);
    }
}
