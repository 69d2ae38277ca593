//! Root: who has it, and how to get it. Namespaces, BPF and interfaces need it; compiling does not.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::owner::OWNER;
use crate::process::{say, which};

/// Whether we are root.
pub(crate) fn is_root() -> bool {
    own_ids().is_some_and(|(uid, _)| uid == 0)
}

/// Returns when root; otherwise starts this same command again under sudo, and does not return.
pub(crate) fn require(why: &str) -> Result<()> {
    if is_root() {
        return Ok(());
    }
    let me = env::current_exe().context("cannot find my own executable")?;
    if which("sudo").is_none() {
        bail!("{why} needs root, and there is no sudo here; run the same command as root");
    }
    say(&format!("{why} needs root: starting again under sudo (compiling stays yours)"));
    let mut sudo = Command::new("sudo");
    sudo.args(["-E", "env"]);
    if let Some((uid, gid)) = own_ids() {
        sudo.arg(format!("{OWNER}={uid}:{gid}"));
    }
    // sudo's own rules reset some of these even with -E (secure_path, env_reset).
    for name in [
        "PATH",
        "HOME",
        "USER",
        "CARGO",
        "CARGO_HOME",
        "CARGO_TARGET_DIR",
        "CARGO_MANIFEST_DIR",
        "RUSTUP_HOME",
        "RUSTUP_TOOLCHAIN",
        "LD_LIBRARY_PATH",
        "XDG_CACHE_HOME",
        "NATGW_BPF_TOOLCHAIN",
        "NO_COLOR",
    ] {
        if let Ok(value) = env::var(name) {
            sudo.arg(format!("{name}={value}"));
        }
    }
    Err(sudo.arg(me).args(env::args_os().skip(1)).exec()).context("cannot start sudo")
}

/// A command that needs root for itself alone: prefixed with sudo when we are not root.
pub(crate) fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut sudo = Command::new("sudo");
    sudo.arg(program);
    sudo
}

/// Real uid and gid: the owner of our own entry in /proc.
fn own_ids() -> Option<(u32, u32)> {
    let entry = fs::metadata("/proc/self").ok()?;
    Some((entry.uid(), entry.gid()))
}
