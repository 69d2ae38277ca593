//! The data plane as userspace sees it: the BPF object, its pins, programs on interfaces, and map contents.
//!
//! Everything lives in pins, so it survives the process: the daemon creates or adopts a [`Datapath`], other
//! verbs open an [`inspect::Inspect`] on the same pins. All of it is synchronous system calls.

pub mod adopt;
pub mod attach;
pub mod batch;
pub mod error;
pub mod guard;
pub mod hops;
pub mod iface;
pub mod inspect;
pub mod links;
pub mod load;
pub mod maps;
pub mod memory;
pub mod object;
pub mod occupant;
pub mod pins;
mod plane;
pub mod reap;
mod sys;
pub mod table;
pub mod tables;

pub use adopt::Adoption;
pub use error::Error;
pub use plane::Datapath;
