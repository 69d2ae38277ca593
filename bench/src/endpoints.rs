//! A client's end, a server's end, and a gateway between them: what every part needs that measures through the whole
//! machine and not through one program.
//!
//! ```text
//!   cli  eth0 ==== in0  gw  out0 ==== eth0  srv
//!        10.0/16              192.0.2/24    198.51.100/24, 198.18/16
//! ```
//!
//! Each contender has such a lane to itself, so that rounds can alternate without anything being set up in between.

mod contender;
mod delays;
mod frames;
mod lane;
pub mod sockets;

pub use contender::{Contender, Table};
pub use delays::Delays;
pub use frames::{Frames, Pace, Traffic};
pub use lane::{Kind, Lane, Offloads, client_of, server_of};
