//! What every part is told: how long to measure, and with what.

use std::path::PathBuf;

/// How long to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Seconds: what `--check` runs, in CI too. Instruction counts and ratios that are stable on a busy machine.
    Check,
    /// A minute in all: fewer rounds and sizes, the same code.
    Quick,
    /// Several minutes: what docs/benchmarks.md shows.
    Full,
}

impl Effort {
    /// As in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Quick => "quick",
            Self::Full => "full",
        }
    }
}

/// What every section needs to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// How long to measure.
    pub effort: Effort,
    /// The benchmark's BPF object.
    pub bench_object: PathBuf,
}

impl Context {
    /// `quick` or `full`, whichever the effort asks for; a check is quick.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        match self.effort {
            Effort::Check | Effort::Quick => quick,
            Effort::Full => full,
        }
    }
}

/// Says on stderr what is being measured.
pub fn progress(what: &str) {
    eprintln!("natgw-bench: {what}");
}
