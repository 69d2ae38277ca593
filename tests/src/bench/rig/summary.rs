//! What was measured, in the report's form.

use super::measure::Outcome;
use super::plan::Plan;
use crate::bench::report::Section;

/// Tables, ratios and notes.
pub fn section(_plan: &Plan, _outcomes: &[Outcome]) -> Section {
    Section {
        id: "rig".to_owned(),
        title: "Packets per second through real interfaces".to_owned(),
        notes: super::notes::notes(),
        ..Section::default()
    }
}
