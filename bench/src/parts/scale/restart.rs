//! From nothing, or from a data plane that a dead daemon left, to `ready`.

use anyhow::{Result, ensure};
use nat_tests::lab::{Gateway, Options};

use super::stand::{Stand, flows};
use crate::births::{Births, Order};

/// Frames that are sent after an adoption.
const FRAMES: u32 = 20_000;

/// Starts a gateway of the default size `times` times; milliseconds from exec to `ready`, each.
pub fn fresh(stand: &Stand, times: usize) -> Result<Vec<f64>> {
    let options = Stand::options(None);
    (0..times)
        .map(|_| {
            let mut gateway = Gateway::start(&stand.lab, &options)?;
            let ready = gateway.started_in().as_secs_f64() * 1e3;
            ensure!(gateway.stop()?.success(), "natgw did not stop cleanly:\n{}", gateway.log());
            Ok(ready)
        })
        .collect()
}

/// Kills the daemon and starts another, which must find all flows there and working; milliseconds from exec to
/// `ready`.
pub fn adopt<'lab>(
    stand: &'lab Stand,
    mut gateway: Gateway<'lab>,
    options: &Options,
    births: &mut Births<'_>,
) -> Result<(Gateway<'lab>, f64)> {
    let before = flows(&gateway)?;
    gateway.kill9()?;
    drop(gateway);
    let gateway = Gateway::start(&stand.lab, options)?;
    let ready = gateway.started_in().as_secs_f64() * 1e3;
    let sent = |g: &Gateway<'_>| Ok::<_, anyhow::Error>(g.stats()?["packets"]["destination_out"].as_u64());
    let attempts = |g: &Gateway<'_>| Ok::<_, anyhow::Error>(g.stats()?["connections"]["attempts"].as_u64());
    let (sent_before, attempts_before) = (sent(&gateway)?, attempts(&gateway)?);
    births.send(Order::Scattered, 0, FRAMES)?;
    let passed = sent(&gateway)?.unwrap_or(0) - sent_before.unwrap_or(0);
    ensure!(
        passed >= u64::from(FRAMES) * 99 / 100,
        "only {passed} of {FRAMES} frames passed after the restart"
    );
    ensure!(
        attempts(&gateway)? == attempts_before,
        "flows were lost with the daemon: their frames opened new ones"
    );
    ensure!(flows(&gateway)? == before, "{before} flows before the restart, {} after", flows(&gateway)?);
    Ok((gateway, ready))
}
