//! What the packet path tells: counters, and diagnostics of the slow path.

pub mod log;
pub mod stats;
