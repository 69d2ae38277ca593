//! The initramfs: everything the guest has.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use super::kernel::Kernel;
use crate::process::succeed;
use crate::process::which;

/// What init does before it starts the harness.
const INIT: &str = include_str!("init.sh");

/// Programs that the suites run. busybox does the rest.
const PROGRAMS: [&str; 15] = [
    "bash",
    "bpftool",
    "bridge",
    "curl",
    "ethtool",
    "ip",
    "modprobe",
    "nft",
    "ping",
    "sha256sum",
    "sysctl",
    "tc",
    "tcpdump",
    "tracepath",
    "wg",
];

/// Modules that the suites need; the kernel loads most of them by itself when a device or rule asks for it.
const MODULES: [&str; 32] = [
    "8021q",
    "act_bpf",
    "bonding",
    "br_netfilter",
    "bridge",
    "cls_bpf",
    "dummy",
    "e1000e",
    "inet_diag",
    "ipvlan",
    "macvlan",
    "nf_conntrack",
    "nf_tables",
    "nft_chain_nat",
    "nft_compat",
    "nft_ct",
    "nft_masq",
    "nft_nat",
    "ppp_async",
    "pppoe",
    "sch_fq_codel",
    "sch_ingress",
    "sch_netem",
    "tcp_diag",
    "tun",
    "udp_diag",
    "veth",
    "virtio_net",
    "virtio_pci",
    "vrf",
    "vxlan",
    "wireguard",
];

/// Puts the image together in `dir`.
pub(super) fn build(
    dir: &Path,
    kernel: &Kernel,
    natgw: &Path,
    harness: &Path,
    options: &[String],
) -> Result<PathBuf> {
    let root = dir.join("root");
    drop(fs::remove_dir_all(&root));
    for sub in ["bin", "usr/bin", "opt", "dev", "proc", "sys", "run", "tmp", "etc"] {
        fs::create_dir_all(root.join(sub))
            .with_context(|| format!("cannot make {}", root.join(sub).display()))?;
    }
    let mut libraries = BTreeSet::new();
    let mut bring = |from: &Path, to: &str| -> Result<()> {
        fs::copy(from, root.join(to)).with_context(|| format!("cannot copy {}", from.display()))?;
        libraries.extend(needs(from)?);
        Ok(())
    };
    for program in PROGRAMS {
        let path = which(program).with_context(|| format!("there is no program {program}"))?;
        bring(&path, &format!("usr/bin/{program}"))?;
    }
    bring(&which("busybox").context("there is no busybox")?, "bin/busybox")?;
    bring(natgw, "opt/natgw")?;
    bring(harness, "opt/suite")?;
    for library in libraries {
        let to = root.join(library.strip_prefix("/").unwrap_or(&library));
        fs::create_dir_all(to.parent().unwrap_or(&root))?;
        fs::copy(&library, to).with_context(|| format!("cannot copy {}", library.display()))?;
    }
    // Two thirds of a harness are for debuggers, and the guest copies every byte by emulation.
    succeed(Command::new("strip").arg("--strip-debug").arg(root.join("opt/suite")))?;
    modules(kernel, &root)?;
    let quoted: Vec<String> = options.iter().map(|o| format!("'{}'", o.replace('\'', r"'\''"))).collect();
    fs::write(root.join("etc/suite"), format!("/opt/suite {}\n", quoted.join(" ")))?;
    fs::write(root.join("init"), INIT)?;
    succeed(Command::new("chmod").arg("755").arg(root.join("init")))?;
    pack(&root, &dir.join("initramfs"))
}

/// The shared libraries of a program, the loader too.
fn needs(program: &Path) -> Result<Vec<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("cannot start ldd")?;
    // A static program is an error to ldd, and needs nothing.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn modules(kernel: &Kernel, root: &Path) -> Result<()> {
    let mut show = Command::new("modprobe");
    show.arg("-d").arg(&kernel.root).args(["-S", &kernel.release, "--show-depends", "-a"]).args(MODULES);
    let listed = show.output().context("cannot start modprobe")?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let base = Path::new("lib/modules").join(&kernel.release);
    fs::create_dir_all(root.join(&base))?;
    for file in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(kernel.root.join(&base).join(file), root.join(&base).join(file))
            .with_context(|| format!("Linux {} has no {file}", kernel.release))?;
    }
    // insmod PATH [OPTIONS]
    for path in listed.lines().filter_map(|line| line.strip_prefix("insmod ")?.split(' ').next()) {
        let path = Path::new(path);
        let to = root.join(path.strip_prefix(&kernel.root).unwrap_or(path));
        fs::create_dir_all(to.parent().unwrap_or(root))?;
        fs::copy(path, to).with_context(|| format!("cannot copy {}", path.display()))?;
    }
    succeed(Command::new("depmod").arg("-b").arg(root).arg(&kernel.release))?;
    Ok(())
}

/// Uncompressed: unpacking would be emulated.
fn pack(root: &Path, to: &Path) -> Result<PathBuf> {
    let names = succeed(Command::new("find").arg(".").current_dir(root))?;
    let mut cpio = Command::new("busybox")
        .args(["cpio", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(root)
        .stdin(Stdio::piped())
        .stdout(fs::File::create(to)?)
        .stderr(Stdio::null())
        .spawn()
        .context("cannot start busybox")?;
    if let Some(mut stdin) = cpio.stdin.take() {
        std::io::Write::write_all(&mut stdin, names.as_bytes())?;
    }
    if !cpio.wait()?.success() {
        bail!("busybox cpio could not pack {}", root.display());
    }
    Ok(to.to_owned())
}
