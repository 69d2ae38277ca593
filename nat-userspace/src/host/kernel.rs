//! What the running kernel is and has, as far as files tell.

use std::fs;
use std::path::Path;

/// The running kernel.
#[expect(clippy::struct_excessive_bools, reason = "each answers a question of its own")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    /// As `uname -r` says.
    pub release: String,
    /// Its first two numbers.
    pub version: (u32, u32),
    /// It describes its own types (`/sys/kernel/btf/vmlinux`).
    pub has_btf: bool,
    /// BPF programs are compiled to machine code.
    pub has_jit: bool,
    /// It has BPF file systems.
    pub has_bpffs: bool,
    /// XDP programs may ask its connection tracking.
    pub has_conntrack_lookup: bool,
    /// `net.ipv4.ip_forward`.
    pub forwards: bool,
}

impl Kernel {
    /// Reads it.
    pub fn read() -> Self {
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let release = text("/proc/sys/kernel/osrelease").trim().to_owned();
        // Without the file the kernel has no other way than the JIT.
        let jit = text("/proc/sys/net/core/bpf_jit_enable");
        Self {
            version: version(&release).unwrap_or_default(),
            release,
            has_btf: Path::new("/sys/kernel/btf/vmlinux").exists(),
            has_jit: jit.trim() != "0",
            has_bpffs: text("/proc/filesystems").lines().any(|l| l.split_whitespace().last() == Some("bpf")),
            has_conntrack_lookup: text("/proc/kallsyms").contains(" bpf_xdp_ct_lookup"),
            forwards: text("/proc/sys/net/ipv4/ip_forward").trim() == "1",
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_has_two_numbers_in_front() {
        assert_eq!(version("6.12.9-amd64"), Some((6, 12)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert_eq!(version("next"), None);
    }
}
