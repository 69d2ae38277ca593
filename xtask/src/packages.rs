//! Debian packages that building, testing and the lab need, and their installation.

use std::fs;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::privilege;
use crate::process::{run, say, which};

/// A Debian package and how to tell that it is there.
pub(crate) struct Package {
    /// Its name in Debian 12.
    name: &'static str,
    /// A program it brings.
    program: &'static str,
}

/// What the lab runs: `cargo xtask run` without arguments.
pub(crate) const LAB: &[Package] = &[
    Package { name: "iproute2", program: "ip" },
    Package { name: "iputils-ping", program: "ping" },
    Package { name: "curl", program: "curl" },
    Package { name: "ethtool", program: "ethtool" },
];

/// What the test suites run beyond [`LAB`].
pub(crate) const TESTS: &[Package] = &[
    Package { name: "iproute2", program: "tc" },
    Package { name: "tcpdump", program: "tcpdump" },
    Package { name: "bpftool", program: "bpftool" },
    Package { name: "nftables", program: "nft" },
    Package { name: "procps", program: "sysctl" },
    Package { name: "traceroute", program: "traceroute" },
    Package { name: "iputils-tracepath", program: "tracepath" },
];

/// What `cargo xtask vm` runs beyond both, or puts into the machine.
pub(crate) const VM: &[Package] = &[
    Package { name: "qemu-system-x86", program: "qemu-system-x86_64" },
    Package { name: "busybox", program: "busybox" },
    Package { name: "kmod", program: "depmod" },
    Package { name: "binutils", program: "strip" },
    Package { name: "wireguard-tools", program: "wg" },
];

/// What the benchmark runs beyond [`LAB`].
pub(crate) const BENCH: &[Package] = &[
    Package { name: "nftables", program: "nft" },
    Package { name: "iperf3", program: "iperf3" },
    Package { name: "bpftool", program: "bpftool" },
];

/// Installs what is missing of `packages`, or says which command would.
pub(crate) fn ensure(packages: &[&[Package]]) -> Result<()> {
    let mut missing: Vec<&str> =
        packages.iter().copied().flatten().filter(|p| which(p.program).is_none()).map(|p| p.name).collect();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    say(&format!("missing: {}", missing.join(", ")));
    install(&missing)
}

/// `apt-get install`s `names`; refreshes the package lists first when they do not offer them all.
pub(crate) fn install(names: &[&str]) -> Result<()> {
    let by_hand = format!("sudo apt-get update && sudo apt-get install -y {}", names.join(" "));
    if !is_debian() {
        bail!("not a Debian system: install what provides {} and try again", names.join(", "));
    }
    if !privilege::is_root() && which("sudo").is_none() {
        bail!("cannot install packages without root; run: {by_hand}");
    }
    if !names.iter().all(|name| available(name)) {
        say("apt-get update");
        // A mirror that is down must not stop an install that another mirror can serve.
        drop(run(apt().args(["-qq", "update"])));
    }
    say(&format!("apt-get install -y {}", names.join(" ")));
    if run(&mut install_command(names)).is_ok() {
        return Ok(());
    }
    say("apt-get update (the lists may be out of date), then once more");
    drop(run(apt().args(["-qq", "update"])));
    if run(&mut install_command(names)).is_err() {
        bail!("could not install {}; run: {by_hand}", names.join(", "));
    }
    Ok(())
}

/// The installed version of Debian package `name`.
pub(crate) fn installed_version(name: &str) -> Option<String> {
    let mut query = Command::new("dpkg-query");
    query.args(["-W", "-f", "${db:Status-Status} ${Version}", name]).stderr(Stdio::null());
    crate::process::output(&mut query)?.strip_prefix("installed ").map(str::to_owned)
}

/// Whether apt and dpkg manage this system.
pub(crate) fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    which("apt-get").is_some()
        && release.lines().any(|line| {
            line.split_once('=').is_some_and(|(key, value)| {
                matches!(key, "ID" | "ID_LIKE") && value.trim_matches('"').split(' ').any(|id| id == "debian")
            })
        })
}

fn available(name: &str) -> bool {
    let mut show = Command::new("apt-cache");
    show.args(["show", "--no-all-versions", name]).stderr(Stdio::null());
    crate::process::output(&mut show).is_some_and(|text| !text.is_empty())
}

fn install_command(names: &[&str]) -> Command {
    let mut command = apt();
    command.args(["-qq", "-o", "Dpkg::Use-Pty=0", "install", "-y", "--no-install-recommends"]).args(names);
    command.stdout(Stdio::null());
    command
}

fn apt() -> Command {
    let mut apt = privilege::as_root("env");
    apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]);
    apt
}
