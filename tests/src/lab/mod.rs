//! The lab: clients, a gateway, two internet servers and a stranger, in namespaces on veths.
//!
//! ```text
//!   cli-a 10.0.0.10 --+                               +-- srv-a 198.51.100.10, .11
//!   cli-b 10.0.0.11 --+-- lan ==== gw ==== wan -------+-- srv-b 203.0.113.10
//!   cli-c 10.0.0.12 --+      in0    out0              +-- evil  203.0.113.66
//! ```
//!
//! With `unmanaged`, the gateway also has `dmz0` 172.30.0.1, which natgw does not manage, with host `dmz` behind it.
//!
//! `lan` is a bridge, `wan` a router, each in a namespace of its own; `gw` is where natgw runs.

pub mod addr;
pub mod bulk;
pub mod clients;
pub mod gateway;
pub mod netns;
mod pattern;
pub mod raw;
pub mod relay;
pub mod servers;
pub mod session;
mod signals;
pub mod tap;
pub mod topology;
mod wait;
mod whole;
pub mod xdp_pass;

pub use addr::*;
pub use gateway::{Gateway, Options};
pub use netns::Netns;
pub use tap::{Frame, Tap, mac_text};
pub use topology::{Arms, Topology};
pub use wait::wait_until;
pub use whole::Lab;
