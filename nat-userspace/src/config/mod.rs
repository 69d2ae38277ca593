//! Configuration: what was typed, what it means, and what the host must look like for it.
//!
//! [`mod@file`] is the text, [`flags`] the command line, [`written`] both together. [`resolve`] holds that against the host
//! and yields the [`Gateway`](crate::model::gateway::Gateway); [`render`] writes that back as a configuration file.

pub mod duration;
mod error;
mod file;
pub mod flags;
pub mod followed;
mod interfaces;
pub mod origin;
pub mod render;
pub mod reserved;
mod resolve;
mod sources;
#[cfg(test)]
mod tests;
mod uplinks;
pub mod value;
mod wording;
pub mod written;

pub use error::Error;
pub use written::Config;
