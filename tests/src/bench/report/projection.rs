//! What the measured cost per packet would mean on real NICs: a projection, from published driver figures.

use super::Section;
use super::document::Report;

/// The section, when what it is computed from was measured.
pub fn section(_report: &Report) -> Option<Section> {
    None
}
