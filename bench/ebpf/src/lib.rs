//! What the benchmark's programs and those who run them agree on: the values of maps, where headers have their fields,
//! and what is computed on both sides. Compiled into both, so nothing here needs more than `core`.
#![no_std]

pub mod header;
pub mod layout;
