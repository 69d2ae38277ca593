//! Configuration: what was typed, what it means, and what the host must look like for it.

pub mod desired;
