//! bpf-linker, built once into the cache of tools.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, output, run, say};
use crate::workspace;

/// The version the flags in [`crate::bpf`] are known to work with.
pub(crate) const VERSION: &str = "0.10.3";
/// The newest LLVM whose bitcode it reads.
pub(super) const LLVM_MAJOR: u32 = 22;

/// The path of a bpf-linker that runs; builds it first when it is not there.
pub(super) fn prepare(llvm: &Path) -> Result<PathBuf> {
    let tools = workspace::tools();
    let home = tools.join(format!("bpf-linker-{VERSION}"));
    let linker = home.join("bin/bpf-linker");
    if works(&linker, llvm) {
        say(&format!("BPF linker: bpf-linker {VERSION} ({})", linker.display()));
        return Ok(linker);
    }
    fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
    let lock =
        File::create(tools.join(".lock")).with_context(|| format!("cannot write in {}", tools.display()))?;
    lock.lock().context("cannot lock the cache of tools")?;
    if works(&linker, llvm) {
        say(&format!("BPF linker: bpf-linker {VERSION}, which another xtask has just built"));
        return Ok(linker);
    }
    say(&format!(
        "BPF linker: building bpf-linker {VERSION} into {}, once (half a minute on two idle CPUs)",
        home.display()
    ));
    build(&home)?;
    if !works(&linker, llvm) {
        bail!("{} does not run; delete {} and try again", linker.display(), home.display());
    }
    Ok(linker)
}

/// Builds beside `home` and renames, so that `home` is whole or not there.
fn build(home: &Path) -> Result<()> {
    let fresh = home.with_extension("new");
    for stale in [&fresh, home] {
        if stale.exists() {
            fs::remove_dir_all(stale).with_context(|| format!("cannot remove {}", stale.display()))?;
        }
    }
    let mut install = cargo();
    install.args([
        "install",
        "--quiet",
        "--locked",
        "bpf-linker",
        "--version",
        &format!("={VERSION}"),
        "--root",
    ]);
    install.arg(&fresh);
    // It is LLVM, in a library of the compiler's, that does the work. Optimising the rest would only make us wait.
    install
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "256");
    for flags in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        install.env_remove(flags);
    }
    run(&mut install).with_context(|| {
        format!("cannot build bpf-linker; with network, run: cargo install --locked bpf-linker --version ={VERSION} --root {}", home.display())
    })?;
    fs::rename(&fresh, home).with_context(|| format!("cannot move {} into place", fresh.display()))
}

fn works(linker: &Path, llvm: &Path) -> bool {
    let mut version = Command::new(linker);
    version.arg("--version").env("LD_LIBRARY_PATH", llvm);
    output(&mut version).is_some_and(|text| text.contains(VERSION))
}
