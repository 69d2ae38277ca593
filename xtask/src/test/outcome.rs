//! What a test harness reports about itself.

use std::fmt;
use std::ops::Add;
use std::time::Duration;

/// How many tests a layer ran, and how they went.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Tests that passed.
    pub(super) passed: u64,
    /// Tests that failed; a harness that dies counts as one.
    pub(super) failed: u64,
    /// Tests marked `#[ignore]`.
    pub(super) ignored: u64,
    /// Wall-clock time.
    pub(crate) took: Duration,
}

impl Outcome {
    /// A harness that ended without saying how its tests went.
    pub(super) fn crash() -> Self {
        Self { failed: 1, ..Self::default() }
    }

    /// Reads libtest's `test result: ok. 3 passed; 0 failed; 1 ignored; …`; `None` for any other line.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
        let count = |what: &str| {
            counts.split("; ").find_map(|part| part.strip_suffix(what)?.trim().parse::<u64>().ok())
        };
        Some(Self {
            passed: count("passed")?,
            failed: count("failed")?,
            ignored: count("ignored")?,
            ..Self::default()
        })
    }
}

impl Add for Outcome {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            passed: self.passed + other.passed,
            failed: self.failed + other.failed,
            ignored: self.ignored + other.ignored,
            took: self.took + other.took,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>5} passed {:>3} failed", self.passed, self.failed)?;
        if self.ignored > 0 {
            write!(f, " {:>3} ignored", self.ignored)?;
        }
        write!(f, "  {:.1} s", self.took.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;

    #[test]
    fn reads_a_result_line() {
        let line = "test result: FAILED. 41 passed; 2 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.00s";
        let expected = Outcome { passed: 41, failed: 2, ignored: 1, ..Outcome::default() };
        assert_eq!(Outcome::parse(line), Some(expected));
    }

    #[test]
    fn other_lines_are_not_results() {
        for line in ["", "test tuple::reverse ... ok", "running 3 tests", "test result: ok"] {
            assert_eq!(Outcome::parse(line), None, "{line}");
        }
    }
}
