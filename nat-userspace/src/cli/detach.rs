//! `natgw detach`: takes the data plane down, daemon or not.

use super::args::{DetachArgs, Instance};

/// Stops the daemon if there is one, and removes whatever is left of the gateway.
pub async fn run(instance: &Instance, args: DetachArgs) -> anyhow::Result<()> {
    let _ = (instance, args);
    todo!()
}
