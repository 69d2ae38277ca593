//! Which CPU does what, and what else the machine does meanwhile.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Netns;
use nat_tests::lab::netns::check;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Runs the generator, and whatever its packets set off that is not pinned elsewhere.
pub const GENERATOR: usize = 0;

/// Where a gateway's packets are processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cpus {
    /// All on the generator's CPU, each batch right after it was made.
    Shared,
    /// Gateway and far end on another one.
    Apart,
}

/// The CPU that is not the generator's; the same one where there is only one.
pub fn other() -> usize {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    usize::from(count > 1)
}

/// Keeps the calling thread on one CPU.
pub fn pin_this_thread(cpu: usize) -> Result<()> {
    pin(Pid::from_raw(0), cpu)
}

fn pin(thread: Pid, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(thread, &set).with_context(|| format!("pin thread {thread} to CPU {cpu}"))
}

/// Gives the receive processing of a device threads of its own, pinned to the other CPU, or takes them away.
pub fn arrange(ns: &Netns, device: &str, cpus: Cpus) -> Result<()> {
    let threaded = u8::from(cpus == Cpus::Apart);
    // `ip netns exec` mounts the namespace's own /sys for the command.
    let script = format!("echo {threaded} > /sys/class/net/{device}/threaded");
    check("ip", Command::new("ip").args(["netns", "exec", ns.name(), "sh", "-c", &script]))?;
    if cpus == Cpus::Shared {
        return Ok(());
    }
    let prefix = format!("napi/{device}-");
    let mut found = 0;
    for entry in fs::read_dir("/proc")?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else { continue };
        let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
        if name.starts_with(&prefix) {
            pin(Pid::from_raw(pid), other())?;
            found += 1;
        }
    }
    ensure!(found > 0, "no kernel thread {prefix}* although {device} has threaded receive processing");
    Ok(())
}

/// What CPUs have spent their time on since boot, in ticks of 10 ms.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// All CPUs but the generator's: everything but idling.
    pub others_busy: u64,
    /// All CPUs: taken by the hypervisor for somebody else.
    pub stolen: u64,
}

impl Times {
    /// Until now.
    pub fn read() -> Self {
        let mut times = Self::default();
        for line in fs::read_to_string("/proc/stat").unwrap_or_default().lines() {
            let Some((name, numbers)) = line.split_once(' ') else { continue };
            let Some(Ok(cpu)) = name.strip_prefix("cpu").map(str::parse::<usize>) else { continue };
            let ticks: Vec<u64> = numbers.split_whitespace().map_while(|n| n.parse().ok()).collect();
            // user nice system idle iowait irq softirq steal
            let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else { continue };
            if cpu != GENERATOR {
                times.others_busy += user + nice + system + irq + softirq;
            }
            times.stolen += steal;
        }
        times
    }

    /// Since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            others_busy: self.others_busy.saturating_sub(earlier.others_busy),
            stolen: self.stolen.saturating_sub(earlier.stolen),
        }
    }
}
