//! `natgw check`: says what a configuration means on this host, or why it cannot be. Touches nothing.

use std::io::Write;

use crate::config::flags::GatewayFlags;
use crate::config::{Config, render};
use crate::host::facts::HostFacts;

/// Prints the effective configuration as TOML that means the same.
pub async fn run(flags: &GatewayFlags, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = Config::load(flags.config.as_deref(), flags)?;
    let facts = HostFacts::read().await?;
    let gateway = config.resolve(&facts)?;
    out.write_all(render::to_toml(&gateway).as_bytes())?;
    Ok(())
}
