//! Which CPU does what, and what else the machine does meanwhile.

use std::fs;

use anyhow::Result;
use nat_tests::lab::Netns;

use crate::cores;

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

/// Gives the receive processing of a device threads of its own, pinned to the other CPU, or takes them away.
pub fn arrange(ns: &Netns, device: &str, cpus: Cpus) -> Result<()> {
    match cpus {
        Cpus::Shared => cores::unthread_napi(ns, device),
        Cpus::Apart => cores::thread_napi(ns, device, other()).map(drop),
    }
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
