//! What the packet path (BPF) and userspace agree on, and every computation that can be tested without
//! a kernel.
//!
//! `no_std`, no I/O, no pointers into packets. Integers that travel on the wire are kept in wire order
//! inside newtypes ([`Addr`], [`Port`]); host order appears only where a computation needs it, and the
//! method that yields it says so.
#![cfg_attr(not(any(test, feature = "user")), no_std)]

pub mod abi;
pub mod answer;
pub mod bucket;
pub mod flow;
pub mod hash;
pub mod hop;
mod list;
pub mod nh;
pub mod num;
mod pod;
pub mod ports;
pub mod table;
pub mod tuple;
pub mod verdict;
pub mod wire;

pub use abi::{budget, conntrack, eip, event, handover, lost, maps, reap, scarce, settings, stats};
pub use flow::{entry, stamp, tcp, timeouts};
pub use wire::{checksum, icmp};

pub use answer::Answer;
pub use eip::{Eip, EipState, LpmAddr, PoolRef};
pub use entry::FlowEntry;
pub use hop::{EGRESS_KERNEL, HopStamp};
pub(crate) use pod::map_value;
pub use stamp::{Stamp, Ticks};
pub use tuple::{Addr, Port, Proto, Side, Tuple};
pub use verdict::{PassReason, Reason, Verdict};
