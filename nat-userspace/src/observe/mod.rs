//! What can be seen of a gateway: flows, counters, its status and faults, and Prometheus metrics.

pub mod devices;
pub mod doctor;
pub mod eips;
pub mod faults;
pub mod flows;
pub mod matches;
pub mod metrics;
pub mod number;
pub mod ports;
pub mod stats;
pub mod status;
pub mod uplinks;
