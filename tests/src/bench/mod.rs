//! The benchmark: what natgw costs and carries, next to what else could do the job, in one run on one machine.
//!
//! Each section measures one thing and returns what it found as a [`report::Section`]; [`report`] prints, saves and
//! draws all of them alike.
#![expect(clippy::cast_precision_loss, reason = "53 bits are plenty for what is measured")]

pub mod births;
pub mod endpoints;
pub mod goodput;
pub mod latency;
pub mod newflows;
pub mod program;
pub mod report;
pub mod rig;
pub mod scale;

use std::path::PathBuf;

use anyhow::Result;

use report::Section;

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

/// What every section needs to know.
#[derive(Clone, Debug)]
pub struct Context {
    /// How long to measure.
    pub effort: Effort,
    /// The gateway's own BPF object.
    pub natgw_object: PathBuf,
    /// The benchmark's BPF object.
    pub bench_object: PathBuf,
    /// The `natgw` binary.
    pub natgw: PathBuf,
}

impl Context {
    /// `quick` or `full`, whichever the effort asks for; a check is quick.
    pub fn pick<T>(&self, quick: T, full: T) -> T {
        match self.effort {
            Effort::Check | Effort::Quick => quick,
            Effort::Full => full,
        }
    }

    /// Says on stderr what is being measured.
    pub fn progress(&self, what: &str) {
        eprintln!("natgw-bench: {what}");
    }
}

/// A part of the benchmark that can be run alone.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// What `--only` calls it.
    pub name: &'static str,
    /// Measures.
    pub run: fn(&Context) -> Result<Section>,
}

/// Every part, in the order in which they run and are shown.
pub const PARTS: [Part; 6] = [
    Part { name: "program", run: program::run },
    Part { name: "rig", run: rig::run },
    Part { name: "newflows", run: newflows::run },
    Part { name: "latency", run: latency::run },
    Part { name: "scale", run: scale::run },
    Part { name: "goodput", run: goodput::run },
];
