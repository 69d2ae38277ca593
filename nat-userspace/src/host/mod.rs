//! The only place that touches the host: netlink, addresses, neighbours, sysctls, bpffs, the state directory.

pub mod addresses;
pub mod bpffs;
pub mod condition;
pub mod error;
mod ethtool;
pub mod facts;
mod garp;
pub mod kernel;
mod links;
mod mounts;
pub mod mtus;
pub mod namespace;
pub mod neighbours;
mod netfilter;
mod netlink;
pub mod offloads;
pub mod private;
pub mod process;
pub mod roster;
mod routes;
pub mod state;
pub mod sysctls;
pub mod watch;

pub use error::Error;
