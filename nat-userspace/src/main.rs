//! The `natgw` binary.
fn main() {}
