//! What leaves natgw: views of flows and counters for people and programs, and Prometheus metrics.

mod encode;
mod format;
pub mod metrics;
pub mod peak;
pub mod stats;
pub mod usage;
pub mod view;
