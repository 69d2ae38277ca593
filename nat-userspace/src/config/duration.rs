//! Durations as people write them: `2h4m`, `350s`, `500ms`.

use std::fmt::Write as _;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("is empty; write a duration such as \"5m\"")]
    Empty,
    /// A number without a unit, or a unit without a number.
    #[error("\"{0}\" is no duration; write numbers with units (d h m s ms), such as \"2h4m\"")]
    Malformed(String),
    /// More milliseconds than fit 64 bits.
    #[error("\"{0}\" is too long")]
    TooLong(String),
}

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Milliseconds. Units go from large to small, each at most once.
pub fn parse_ms(text: &str) -> Result<u64, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let too_long = || DurationError::TooLong(text.to_owned());
    let mut total = 0u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(malformed)?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        // Advancing the iterator makes a repeated or misplaced unit unknown.
        let (_, factor) = units.by_ref().find(|(name, _)| *name == unit).ok_or_else(malformed)?;
        if number.is_empty() {
            return Err(malformed());
        }
        let number: u64 = number.parse().map_err(|_| too_long())?;
        total = number.checked_mul(*factor).and_then(|ms| total.checked_add(ms)).ok_or_else(too_long)?;
        rest = tail;
    }
    Ok(total)
}

/// The shortest text that [`parse_ms`] reads back as `ms`.
pub fn render_ms(ms: u64) -> String {
    let mut text = String::new();
    let mut rest = ms;
    for (name, factor) in UNITS {
        if rest >= factor {
            // Writing to a String cannot fail.
            let _ = write!(text, "{}{name}", rest / factor);
            rest %= factor;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, ms) in [
            ("2h4m", 7_440_000),
            ("350s", 350_000),
            ("500ms", 500),
            ("1d", 86_400_000),
            ("1m500ms", 60_500),
            ("0s", 0),
            ("90m", 5_400_000),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn refuses_what_could_mean_anything() {
        for text in
            ["", "5", "m", "5x", "4m2h", "5m5m", "-5s", "1.5h", "5 m", "5m ", "ms5", "99999999999999999999s"]
        {
            assert!(parse_ms(text).is_err(), "{text}");
        }
        assert!(matches!(parse_ms("18446744073709551615d"), Err(DurationError::TooLong(_))));
    }

    proptest! {
        #[test]
        fn what_is_rendered_reads_back(ms in any::<u64>()) {
            prop_assert_eq!(parse_ms(&render_ms(ms)), Ok(ms));
        }

        #[test]
        fn no_text_panics(text in "[0-9dhms .-]{0,12}") {
            let _ = parse_ms(&text);
        }
    }
}
