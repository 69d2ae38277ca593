//! Latency under load.

use anyhow::Result;

use super::{Context, report::Section};

/// Measures.
pub fn run(_context: &Context) -> Result<Section> {
    Ok(Section { id: "latency".to_owned(), title: "Latency under load".to_owned(), ..Section::default() })
}
