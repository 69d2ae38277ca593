//! The measurements: one file for each, with what only that measurement needs in a folder of the same name.
//!
//! Each part measures one thing and returns what it found as a [`Section`]; [`crate::report`] prints, saves and draws
//! all of them alike.

mod goodput;
mod latency;
mod newflows;
mod program;
mod rig;
mod scale;

use anyhow::Result;

use crate::context::Context;
use crate::report::section::Section;

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
