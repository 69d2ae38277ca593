//! The data plane as userspace sees it: the BPF object, its pins, programs on interfaces, and map contents.
//!
//! Everything lives in pins, so it survives the process: the daemon creates or adopts a [`Datapath`], other
//! verbs open an [`inspect::Inspect`] on the same pins. All of it is synchronous system calls.

pub(crate) mod adopt;
pub(crate) mod attach;
pub(crate) mod batch;
mod btf;
pub(crate) mod error;
pub(crate) mod guard;
pub mod hops;
pub(crate) mod iface;
pub mod inspect;
pub mod kfuncs;
pub(crate) mod links;
pub(crate) mod load;
pub(crate) mod lost;
pub mod maps;
pub mod memory;
pub(crate) mod object;
pub(crate) mod occupant;
pub mod pins;
mod plane;
mod programs;
pub(crate) mod reap;
mod sys;
pub(crate) mod table;
pub mod tables;
mod tc;
mod tenants;
mod twin;

pub use adopt::Adoption;
pub use error::Error;
pub use plane::Datapath;
