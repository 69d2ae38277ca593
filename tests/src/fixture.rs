//! Fixtures: a packet, a program, and exactly what must come of it, by `BPF_PROG_TEST_RUN` on the real object.
//!
//! The world around the program is small and always the same: `in0` with a client behind it, `out0` with a
//! router behind it, in a namespace of its own, so that the FIB answers; every neighbour is static.

mod context;
mod lane;
mod live;
mod maps;
mod setup;
mod table;
mod tun;
mod world;

pub use context::SkBuff;
pub use lane::{Lane, Ran};
pub use live::{Live, tun};
pub use setup::{Arrives, CLIENT_MAC, Form, IN_MAC, OUT_MAC, ROUTER_MAC, Setup, Step, Verdict};
pub use table::Table;
pub use world::{World, object_path};
