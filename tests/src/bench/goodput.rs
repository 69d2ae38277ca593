//! TCP goodput.

use anyhow::Result;

use super::{Context, report::Section};

/// Measures.
pub fn run(_context: &Context) -> Result<Section> {
    Ok(Section { id: "goodput".to_owned(), title: "TCP goodput".to_owned(), ..Section::default() })
}
