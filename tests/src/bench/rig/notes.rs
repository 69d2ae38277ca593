//! What a reader must know to believe the figures, or not to.
pub fn notes() -> Vec<String> {
    Vec::new()
}
