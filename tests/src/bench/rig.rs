//! Packets per second through real interfaces.

use anyhow::Result;

use super::{Context, report::Section};

/// Measures.
pub fn run(_context: &Context) -> Result<Section> {
    Ok(Section {
        id: "rig".to_owned(),
        title: "Packets per second through real interfaces".to_owned(),
        ..Section::default()
    })
}
