//! The only place that touches the host: netlink, addresses, neighbours, sysctls, bpffs, the state directory.

pub mod addresses;
pub mod bpffs;
pub mod error;
mod ethtool;
pub mod facts;
mod garp;
mod links;
mod mounts;
pub mod mtus;
pub mod namespace;
pub mod neighbours;
mod netlink;
pub mod offloads;
pub mod private;
pub mod roster;
mod routes;
pub mod state;
pub mod sysctls;
pub mod watch;

pub use error::Error;

/// Marks what natgw made in the kernel's tables (`proto` in `ip addr` and `ip neigh`): after a crash it is
/// recognised as natgw's own, and what other programs made is left alone.
const PROTOCOL: u8 = 0x6e;
