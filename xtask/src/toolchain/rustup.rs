//! The rustup toolchain that cargo is running from, with the component rust-src.

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use super::compiler::{Compiler, Kind, core_sources, describe};
use crate::process::{as_owner, output, run, say, which};

/// The toolchain, when it has rust-src.
pub(super) fn find() -> Option<Compiler> {
    let sysroot = sysroot()?;
    if !core_sources(&sysroot).is_file() {
        return None;
    }
    let rustc = sysroot.join("bin/rustc");
    let version = describe(&rustc, "rustup, with rust-src")?;
    Some(Compiler { kind: Kind::Rustup, rustc, llvm: sysroot.join("lib"), version })
}

/// Adds rust-src to the toolchain.
pub(super) fn install() -> Result<Compiler> {
    if which("rustup").is_none() {
        bail!("no rustup here to add rust-src with; see https://rustup.rs");
    }
    say("rustup component add rust-src (the BPF target needs the sources of `core`)");
    let mut rustup = Command::new("rustup");
    rustup.args(["component", "add", "rust-src"]);
    if let Ok(toolchain) = env::var("RUSTUP_TOOLCHAIN") {
        rustup.args(["--toolchain", &toolchain]);
    }
    as_owner(&mut rustup);
    match (run(&mut rustup), find()) {
        (Ok(()), Some(compiler)) => Ok(compiler),
        _ => bail!("rust-src could not be added; with network, run: rustup component add rust-src"),
    }
}

fn sysroot() -> Option<PathBuf> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command.args(["--print", "sysroot"]).current_dir(crate::workspace::root());
    output(&mut command).map(PathBuf::from)
}
