//! Programs that the daemon runs.

pub mod reap;
