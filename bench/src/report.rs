//! What becomes of the figures: one file for each output, and those that outputs share.
//!
//! A part returns a [`section::Section`]. A [`document::Report`] holds those of a run; [`terminal`] prints it,
//! [`document`] saves it as JSON, [`markdown`] and [`plot`] write it into docs/benchmarks.md, and [`check`] compares it
//! with the committed [`baseline`].

pub mod baseline;
pub mod check;
pub mod document;
mod files;
pub mod machine;
pub mod markdown;
mod number;
mod plot;
pub mod projection;
pub mod section;
pub mod terminal;
