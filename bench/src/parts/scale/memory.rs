//! What a gateway takes of the machine's memory, asked in several ways. All in KiB.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use aya::maps::MapData;

/// What the kernel has, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Slab, vmalloc and per-CPU memory: where BPF maps live.
    pub kernel: i64,
    /// Pages of the areas that BPF's own functions allocated, by the kernel's list of areas.
    pub areas: i64,
}

impl Memory {
    /// Reads it once it stands still: maps are freed by workers, a moment after the last one that used them is gone.
    pub fn settled() -> Result<Self> {
        let mut last = Self::read()?;
        for _ in 0..16 {
            std::thread::sleep(Duration::from_millis(150));
            let now = Self::read()?;
            if (now.kernel - last.kernel).abs() < 1024 {
                return Ok(now);
            }
            last = now;
        }
        Ok(last)
    }

    fn read() -> Result<Self> {
        let text = std::fs::read_to_string("/proc/meminfo").context("/proc/meminfo")?;
        let of = |name: &str| field(&text, name).unwrap_or(0);
        let list = std::fs::read_to_string("/proc/vmallocinfo").context("/proc/vmallocinfo")?;
        Ok(Self { kernel: of("Slab:") + of("VmallocUsed:") + of("Percpu:"), areas: areas(&list) })
    }
}

/// KiB of the areas of BPF, of lines like `0x1-0x2 8192 htab_map_alloc+0x... pages=1 vmalloc`.
fn areas(list: &str) -> i64 {
    let of_bpf = |line: &&str| line.contains("bpf_") || line.contains("_map_alloc");
    let pages = list.lines().filter(of_bpf).filter_map(|l| l.split_once(" pages="));
    4 * pages.filter_map(|(_, rest)| rest.split(' ').next()?.parse::<i64>().ok()).sum::<i64>()
}

/// What the kernel accounts to the maps that are pinned somewhere below `dir` (`memlock` in fdinfo).
pub fn of_maps(dir: &Path) -> Result<i64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            sum += of_maps(&path)?;
        } else if let Ok(map) = MapData::from_pin(&path) {
            let info = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
            sum += field(&std::fs::read_to_string(info)?, "memlock:").unwrap_or(0) / 1024;
        }
    }
    Ok(sum)
}

/// Resident memory of a process.
pub fn resident(pid: u32) -> Result<i64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    field(&text, "VmRSS:").context("no VmRSS")
}

/// The number after `name` at the start of a line.
fn field(text: &str, name: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_of_others_do_not_count() {
        let list = "0x1-0x2 8192 htab_map_alloc+0x1/0x2 pages=3 vmalloc N0=3\n\
                    0x2-0x3 8192 alloc_large_system_hash+0x1/0x2 pages=5 vmalloc\n";
        assert_eq!(areas(list), 12);
    }

    #[test]
    fn fields_are_whole_names() {
        let text = "SlabX: 1\nSlab:     78 kB\n";
        assert_eq!((field(text, "Slab:"), field(text, "Nothing:")), (Some(78), None));
    }
}
