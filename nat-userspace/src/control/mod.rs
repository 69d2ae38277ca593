//! Configuration: what was typed, what it means, and what the host must look like for it.
//!
//! [`mod@file`] is the text, [`config`] is file and flags together, [`resolve`] holds it against the host and
//! yields the [`desired::Gateway`]; [`render`] writes that back as a configuration file.

pub mod config;
pub mod desired;
pub mod duration;
mod error;
mod file;
pub mod origin;
pub mod render;
pub mod reserved;
mod resolve;
mod sources;
#[cfg(test)]
mod tests;
pub mod value;
mod wording;

use std::path::Path;

pub use error::Error;

use crate::cli::args::GatewayFlags;

/// Reads the configuration without looking at the host.
pub fn load(config: Option<&Path>, flags: &GatewayFlags) -> Result<config::Config, Error> {
    config::Config::load(config, flags)
}
