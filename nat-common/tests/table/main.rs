//! The flow table's algorithm under a model checker, which runs the packet path's own code in every order that several CPUs
//! may run it in, with every value that a weakly ordered memory may show them.
//!
//! The tables have a few slots, the runs two or three threads. Every test says what must hold; the ones in `mutants` say that
//! the checker notices when one ordering or one check is missing. What would take longer than a moment is ignored here
//! and run by `cargo xtask test --deep`.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed, which is its job")]

mod count;
mod explore;
mod insertions;
mod lives;
mod memory;
mod mutants;
mod removals;
mod reuse;
mod word;
