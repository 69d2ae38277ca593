//! What one packet costs.

use anyhow::Result;

use super::{Context, report::Section};

/// Measures.
pub fn run(_context: &Context) -> Result<Section> {
    Ok(Section { id: "program".to_owned(), title: "What one packet costs".to_owned(), ..Section::default() })
}
