//! Programs that the daemon runs, and those that count what the kernel tells after the packet path has ended.

pub mod lost;
pub mod reap;
