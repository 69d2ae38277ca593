//! The lab behind `cargo xtask run`.
fn main() {}
