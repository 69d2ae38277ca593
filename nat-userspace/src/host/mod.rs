//! The only place that touches the host: netlink, addresses, neighbours, sysctls, bpffs, the state directory.

pub mod addresses;
mod arp;
pub mod assignment;
pub mod bpffs;
pub mod condition;
mod conflict;
pub mod duplicates;
pub mod error;
mod ethtool;
pub mod facts;
pub mod features;
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
mod probe;
pub mod process;
pub mod roster;
mod routes;
pub mod state;
pub mod sysctls;
pub mod watch;

pub use conflict::Conflict;
pub use error::Error;
