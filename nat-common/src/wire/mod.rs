//! Arithmetic on headers: no pointers.

pub mod checksum;
pub mod icmp;
