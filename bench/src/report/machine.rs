//! What the figures were measured on, and what was measured.

use std::fs;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Facts that explain a figure, or why it differs from another machine's. Empty: not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Release of the running kernel, e.g. `6.18.44`.
    pub kernel: String,
    /// Timer interrupts per second of that kernel.
    pub hz: String,
    /// As the CPU calls itself.
    pub cpu: String,
    /// CPUs that are online.
    pub cores: usize,
    /// In MiB.
    pub memory_mib: u64,
    /// `no`, or by what.
    pub virtualised: String,
    /// The kernel's answer to Spectre v2: retpolines make every indirect call dearer.
    pub spectre_v2: String,
    /// `net.core.bpf_jit_harden`: not 0 makes BPF slower.
    pub jit_harden: String,
    /// natgw's version.
    pub natgw: String,
    /// The commit, with `-dirty` when files differ from it.
    pub commit: String,
    /// Compiler, LLVM and linker of the BPF object.
    pub compiler: String,
    /// UTC, e.g. `2026-01-31 14:05`.
    pub date: String,
}

impl Machine {
    /// The one this runs on. What only the build knows comes in the environment: `NATGW_COMMIT` and
    /// `NATGW_BPF_COMPILER`, both set by `cargo xtask bench`.
    pub fn here() -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
        let cpuinfo = read("/proc/cpuinfo");
        let kernel = read("/proc/sys/kernel/osrelease");
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Self {
            hz: option(&kernel_config(&kernel), "CONFIG_HZ").unwrap_or_default(),
            kernel,
            cpu: field(&cpuinfo, "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(0, Into::into),
            memory_mib: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|total| total.strip_suffix(" kB")?.parse::<u64>().ok())
                .unwrap_or_default()
                / 1024,
            virtualised: virtualised(&cpuinfo),
            spectre_v2: read("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
            jit_harden: read("/proc/sys/net/core/bpf_jit_harden"),
            natgw: env!("CARGO_PKG_VERSION").to_owned(),
            commit: std::env::var("NATGW_COMMIT").unwrap_or_default(),
            compiler: std::env::var("NATGW_BPF_COMPILER").unwrap_or_default(),
            date: date(seconds),
        }
    }

    /// For people: what it is, and the value.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let known = |value: &str| if value.is_empty() { "unknown".to_owned() } else { value.to_owned() };
        vec![
            ("natgw", format!("{}, commit {}", known(&self.natgw), known(&self.commit))),
            ("date", format!("{} UTC", known(&self.date))),
            ("kernel", format!("{}, HZ {}", known(&self.kernel), known(&self.hz))),
            ("CPU", format!("{}, {} online", known(&self.cpu), self.cores)),
            ("memory", format!("{} MiB", self.memory_mib)),
            ("virtualised", known(&self.virtualised)),
            ("Spectre v2", known(&self.spectre_v2)),
            ("BPF", format!("JIT hardening {}; {}", known(&self.jit_harden), known(&self.compiler))),
        ]
    }

    /// The part of the kernel's release that decides what its verifier does: `6.18`.
    pub fn kernel_series(&self) -> String {
        self.kernel.split('.').take(2).collect::<Vec<_>>().join(".")
    }
}

/// The value of `name: value` in a file of /proc.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// The value of `NAME=value` in the kernel's configuration.
fn option(config: &str, name: &str) -> Option<String> {
    config.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned()))
}

fn kernel_config(kernel: &str) -> String {
    if let Ok(config) = fs::read_to_string(format!("/boot/config-{kernel}")) {
        return config;
    }
    let unpacked = Command::new("zcat").arg("/proc/config.gz").stderr(Stdio::null()).output();
    unpacked.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

/// CPUs have a flag that hypervisors set; who it is, DMI may tell.
fn virtualised(cpuinfo: &str) -> String {
    let flags = field(cpuinfo, "flags").unwrap_or_default();
    if !flags.split(' ').any(|flag| flag == "hypervisor") {
        // Without flags (other architectures) nothing is known.
        return if flags.is_empty() { String::new() } else { "no".to_owned() };
    }
    let mut product = String::new();
    if let Ok(mut file) = fs::File::open("/sys/class/dmi/id/product_name") {
        // Without a name the flag alone must do.
        drop(file.read_to_string(&mut product));
    }
    let product = product.trim();
    if product.is_empty() { "yes".to_owned() } else { format!("yes ({product})") }
}

/// Seconds since 1970 as date and time of day. Days to date: the algorithm of Howard Hinnant's `civil_from_days`.
fn date(seconds: u64) -> String {
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let minutes = seconds % 86_400 / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}", minutes / 60, minutes % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_days() {
        let dates = [0, 951_782_400, 951_868_800, 1_798_761_599].map(date);
        assert_eq!(dates, ["1970-01-01 00:00", "2000-02-29 00:00", "2000-03-01 00:00", "2026-12-31 23:59"]);
    }

    #[test]
    fn finds_values() {
        assert_eq!(field("a : 1\nmodel name\t: X\n", "model name").as_deref(), Some("X"));
        assert_eq!(option("CONFIG_HZ_250=y\nCONFIG_HZ=250\n", "CONFIG_HZ").as_deref(), Some("250"));
    }

    #[test]
    fn tells_a_guest_by_the_flag() {
        assert_eq!(virtualised("flags : fpu sse\n"), "no");
        assert!(virtualised("flags : fpu hypervisor sse\n").starts_with("yes"));
        assert_eq!(virtualised("nothing"), "");
    }

    #[test]
    fn takes_the_series_of_a_kernel() {
        let series =
            |kernel: &str| Machine { kernel: kernel.to_owned(), ..Machine::default() }.kernel_series();
        assert_eq!(series("6.18.44-x-1"), "6.18");
        assert_eq!(series("6.1.0-13-amd64"), "6.1");
    }
}
