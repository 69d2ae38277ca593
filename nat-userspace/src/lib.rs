//! natgw's userspace: loads and attaches the packet path, owns the EIP and port pool, expires flows, and
//! exports what happens.

pub mod cli;
pub mod config;
pub mod daemon;
pub mod datapath;
pub mod host;
pub mod model;
pub mod observe;
