//! What a packet costs in natgw's program while it runs on its interface, by the kernel's own clock.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramInfo;
use nat_common::abi::program;
use nat_tests::lab::Gateway;
use nat_userspace::datapath::pins::Pins;

/// Runs `work` and returns what the inside program took for one packet meanwhile, in nanoseconds. The kernel reads the
/// clock before and after each run, which is in the figure.
pub fn per_packet(gateway: &Gateway<'_>, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let _counting = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("have programs timed")?;
    let (time, count) = read(gateway)?;
    work()?;
    let (time, count) = (read(gateway)?.0.saturating_sub(time), read(gateway)?.1 - count);
    ensure!(count > 0, "no packet reached the gateway");
    Ok(time.as_secs_f64() * 1e9 / f64::from(u32::try_from(count)?))
}

fn read(gateway: &Gateway<'_>) -> Result<(Duration, u64)> {
    let path = Pins::new(gateway.bpffs()).program(program::INSIDE);
    let info = ProgramInfo::from_pin(&path).with_context(|| path.display().to_string())?;
    Ok((info.run_time(), info.run_count()))
}
