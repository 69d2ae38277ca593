//! The BPF object: compiled for bpfel with a `core` of its own, linked by bpf-linker.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{cargo, run};
use crate::toolchain::{self, Kind, Toolchain};
use crate::workspace::{self, BPF_TARGET};

/// The package of the object that the gateway embeds.
const GATEWAY: &str = "nat-ebpf";

/// The package of the benchmark's object.
const BENCH: &str = "nat-bench-ebpf";

/// The packages that compile for BPF only.
pub(crate) const PACKAGES: [&str; 2] = [GATEWAY, BENCH];

/// Builds the object and returns its path. The file changes only when its content does, so that what embeds it is
/// not built again for nothing.
pub(crate) fn build() -> Result<PathBuf> {
    build_with(&toolchain::prepare()?)
}

/// [`build`], with a toolchain that is already prepared.
pub(crate) fn build_with(toolchain: &Toolchain) -> Result<PathBuf> {
    build_object(toolchain, GATEWAY, "natgw-bpf", workspace::object())
}

/// Builds the object with the benchmark's programs and returns its path.
pub(crate) fn build_bench(toolchain: &Toolchain) -> Result<PathBuf> {
    build_object(toolchain, BENCH, "natgw-bench-bpf", workspace::bench_object())
}

fn build_object(toolchain: &Toolchain, package: &str, name: &str, object: PathBuf) -> Result<PathBuf> {
    run(command(toolchain, "build", package, "")?.args(["--bin", name]))
        .with_context(|| format!("the BPF object {name} does not build"))?;
    let built = build_dir(toolchain.kind).join(BPF_TARGET).join("release").join(name);
    copy_if_changed(&built, &object)?;
    Ok(object)
}

/// `cargo <verb>` on one of [`PACKAGES`] for the BPF target; `extra` is a further compiler flag, or empty.
pub(crate) fn command(toolchain: &Toolchain, verb: &str, package: &str, extra: &str) -> Result<Command> {
    let linker = toolchain.linker.to_str().context("the path of bpf-linker is not UTF-8")?;
    let linker = format!("-Clinker={linker}");
    let mut flags = vec![
        linker.as_str(),
        "-Clink-arg=--btf",
        // Without it every memset and memmove is a call of a byte loop.
        "-Clink-arg=--disable-expand-memcpy-in-order",
        // ALU32 and atomics that return the old value.
        "-Ctarget-cpu=v3",
        // The kernel wants func_info for every function.
        "-Cdebuginfo=2",
    ];
    flags.extend(Some(extra).filter(|flag| !flag.is_empty()));
    let mut command = cargo();
    command
        .args([
            verb,
            "--release",
            "-Z",
            "build-std=core",
            "--target",
            BPF_TARGET,
            "--package",
            package,
            "--target-dir",
        ])
        .arg(build_dir(toolchain.kind))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        // Lets a stable compiler build `core`, and nat-ebpf use BPF's atomic intrinsics.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("LD_LIBRARY_PATH", &toolchain.llvm)
        .env_remove("RUSTFLAGS");
    if toolchain.kind == Kind::Debian {
        command.env("RUSTC", &toolchain.rustc);
    }
    Ok(command)
}

/// One directory per compiler: they would evict each other's results from a shared one.
fn build_dir(kind: Kind) -> PathBuf {
    workspace::target().join(match kind {
        Kind::Rustup => "bpf-build",
        Kind::Debian => "bpf-build-debian",
    })
}

fn copy_if_changed(from: &Path, to: &Path) -> Result<()> {
    let bytes = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    if let Some(dir) = to.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let fresh = to.with_extension("new");
    fs::write(&fresh, bytes).with_context(|| format!("cannot write {}", fresh.display()))?;
    fs::rename(&fresh, to).with_context(|| format!("cannot write {}", to.display()))
}
