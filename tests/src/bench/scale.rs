//! One million flows and more.

use anyhow::Result;

use super::{Context, report::Section};

/// Measures.
pub fn run(_context: &Context) -> Result<Section> {
    Ok(Section {
        id: "scale".to_owned(),
        title: "One million flows and more".to_owned(),
        ..Section::default()
    })
}
