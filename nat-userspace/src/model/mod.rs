//! Plain types that every other folder may use: what a gateway is to be, what it is, and what is asked about it. Nothing
//! here reads a file, asks the kernel or prints.

pub mod check;
pub mod fault;
pub mod filter;
pub mod gateway;
pub mod interface;
pub mod path;
pub mod patterns;
pub mod ports;
pub mod status;
