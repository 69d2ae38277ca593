//! natgw's userspace: loads and attaches the packet path, owns the EIP and port pool, expires flows, and
//! exports what happens.
//!
//! What is public is for the binary and for the tests; the compiler finds what nobody uses of the rest.

mod cli;
mod config;
mod daemon;
pub mod datapath;
pub mod host;
pub mod model;
mod observe;

pub use cli::main;
