//! natgw's userspace: loads and attaches the packet path, owns the EIP and port pool, expires flows, and
//! exports what happens.

pub mod cli;
pub mod collector;
pub mod control;
pub mod daemon;
pub mod datapath;
pub mod export;
pub mod net;
