//! Running other programs: cargo above all, as the user who owns the checkout.

use std::env;
use std::ffi::OsStr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::{owner, workspace};

/// Tells the person at the terminal what is about to happen, or went wrong.
pub(crate) fn say(line: &str) {
    eprintln!("xtask: {line}");
}

/// Cargo in the checkout, free of what the outer `cargo run` left in the environment.
///
/// When xtask is root only because it asked sudo, cargo still runs as the user, so that neither the checkout
/// nor the cargo home ends up with files that belong to root.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace::root());
    for (name, _) in env::vars_os() {
        let outer = ["CARGO_PKG_", "CARGO_BIN_", "CARGO_CRATE_"];
        if outer.iter().any(|prefix| name.as_encoded_bytes().starts_with(prefix.as_bytes())) {
            cargo.env_remove(name);
        }
    }
    cargo
        .env_remove("CARGO_MANIFEST_DIR")
        .env_remove("CARGO_MANIFEST_PATH")
        .env_remove("CARGO_PRIMARY_PACKAGE");
    as_owner(&mut cargo);
    cargo
}

/// Gives `command` the identity of the user who started xtask, when that was not root.
pub(crate) fn as_owner(command: &mut Command) {
    if let Some(owner) = owner::owner() {
        command.uid(owner.uid).gid(owner.gid);
    }
}

/// Runs `command` with our terminal; fails unless it exits 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_owned();
    let name = name.to_string_lossy();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    if !status.success() {
        bail!("{name} failed ({status})");
    }
    Ok(())
}

/// What `command` prints on stdout, trimmed; `None` when it cannot be started or fails.
pub(crate) fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The program `name` on PATH, or where Debian keeps administrators' programs.
pub(crate) fn which(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name.as_ref()))
        .find(|file| file.is_file())
}

/// Fails unless `command` says that it succeeded; its output is in the error.
pub(crate) fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot start {command:?}"))?;
    if !output.status.success() {
        bail!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
