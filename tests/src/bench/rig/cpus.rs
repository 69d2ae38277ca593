//! Which CPU does what.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use crate::lab::Netns;
use crate::lab::netns::check;

/// Runs the generator, and whatever its packets set off that is not pinned elsewhere.
pub const GENERATOR: usize = 0;
/// Runs the gateway's receive processing, and with it what follows: the far end's.
pub const GATEWAY: usize = 1;

/// Keeps the calling thread on one CPU.
pub fn pin_this_thread(cpu: usize) -> Result<()> {
    pin(Pid::from_raw(0), cpu)
}

fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(thread, &set).with_context(|| format!("pin thread {thread} to CPU {cpu}"))
}

/// Gives the receive processing of a device threads of its own, and pins them.
pub fn own_receive_threads(ns: &Netns, device: &str, cpu: usize) -> Result<()> {
    // `ip netns exec` mounts the namespace's own /sys for the command.
    let script = format!("echo 1 > /sys/class/net/{device}/threaded");
    check("ip", std::process::Command::new("ip").args(["netns", "exec", ns.name(), "sh", "-c", &script]))?;
    let prefix = format!("napi/{device}-");
    let mut found = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            pin(Pid::from_raw(pid), cpu)?;
            found += 1;
        }
    }
    ensure!(found > 0, "no kernel thread {prefix}* although {device} is set to threaded receive processing");
    Ok(())
}

/// Puts every gateway's receive processing where the plan says.
pub fn arrange(plan: &super::plan::Plan, gateways: &[super::gateways::Gateway]) -> Result<()> {
    if plan.cpus == super::plan::Cpus::Apart {
        for gateway in gateways {
            own_receive_threads(&gateway.ns, &gateway.inside(), GATEWAY)?;
        }
    }
    Ok(())
}
