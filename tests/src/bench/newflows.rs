//! New flows.

use anyhow::Result;

use super::{Context, report::Section};

/// Measures.
pub fn run(_context: &Context) -> Result<Section> {
    Ok(Section { id: "newflows".to_owned(), title: "New flows".to_owned(), ..Section::default() })
}
