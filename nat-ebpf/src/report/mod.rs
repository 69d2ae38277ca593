//! What the packet path tells: counters, events, and diagnostics of the slow path.

pub mod events;
pub mod log;
pub mod stats;
