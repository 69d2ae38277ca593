//! `cargo xtask lint`: formatting, clippy on both sides, documentation, imports, scripts, and the size of files.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::process::{cargo, output, run, say, which};
use crate::toolchain::{self, Kind, Toolchain};
use crate::{bpf, workspace};

/// No source file is longer.
const MAX_LINES: usize = 500;

/// Options of `cargo xtask lint`.
#[derive(clap::Args)]
pub(crate) struct Args {}

/// `cargo xtask lint`: all checks, also after one has failed.
pub(crate) fn main(_: &Args) -> Result<ExitCode> {
    let toolchain = toolchain::prepare()?;
    // The code that embeds the object is linted as it is shipped: with one.
    let object = bpf::build_with(&toolchain)?;
    let checks: [(&str, &dyn Fn() -> Result<()>); 7] = [
        ("formatting", &|| run(cargo().args(["fmt", "--all", "--check"]))),
        ("clippy, userspace", &|| clippy_userspace(&object)),
        ("clippy, BPF", &|| clippy_bpf(&toolchain)),
        ("documentation", &|| documentation(&object)),
        ("imports", &imports),
        ("scripts", &scripts),
        ("source files", &source_files),
    ];
    let mut failed = Vec::new();
    for (name, check) in checks {
        say(&format!("lint: {name}"));
        if let Err(error) = check() {
            say(&format!("lint: {name}: {error:#}"));
            failed.push(name);
        }
    }
    if failed.is_empty() {
        println!("lint: {} checks passed", checks.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("lint: failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn clippy_userspace(object: &Path) -> Result<()> {
    let mut clippy = cargo();
    clippy.args(["clippy", "--workspace", "--all-targets"]).args(without_bpf());
    clippy.args(["--", "-D", "warnings"]);
    run(clippy.env("NATGW_BPF_OBJECT", object))
}

/// Leaves out of `--workspace` what compiles for BPF only.
fn without_bpf() -> impl Iterator<Item = &'static str> {
    bpf::PACKAGES.into_iter().flat_map(|package| ["--exclude", package])
}

fn clippy_bpf(toolchain: &Toolchain) -> Result<()> {
    if toolchain.kind == Kind::Debian {
        say("Debian's rustc-web has no clippy: checking compiler warnings only");
    }
    bpf::PACKAGES.into_iter().try_for_each(|package| match toolchain.kind {
        Kind::Rustup => run(bpf::command(toolchain, "clippy", package, "")?.args(["--", "-D", "warnings"])),
        Kind::Debian => run(&mut bpf::command(toolchain, "check", package, "-Dwarnings")?),
    })
}

fn documentation(object: &Path) -> Result<()> {
    let mut doc = cargo();
    doc.args(["doc", "--quiet", "--no-deps", "--document-private-items", "--workspace"]);
    doc.args(without_bpf());
    run(doc
        .env("NATGW_BPF_OBJECT", object)
        .env("RUSTDOCFLAGS", "-D warnings -A rustdoc::private-intra-doc-links"))
}

/// No circle of imports, and none against the order of the house, which stands in `lints/src/house.rs`.
fn imports() -> Result<()> {
    run(cargo().args(["run", "--quiet", "--package", "nat-lints"]))
}

/// Shell scripts parse, stop at the first error, and may be executed; shellcheck has its say where there is one.
fn scripts() -> Result<()> {
    for script in tracked(|path, text| path.ends_with(".ci/run") || text.starts_with("#!/usr/bin/env bash"))?
    {
        let shown = workspace::shown(&script);
        run(Command::new("bash").arg("-n").arg(&script)).with_context(|| shown.clone())?;
        let text = fs::read_to_string(&script).with_context(|| shown.clone())?;
        if !text.contains("set -euo pipefail") {
            bail!("{shown} lacks `set -euo pipefail`");
        }
        let mut test = Command::new("test");
        run(test.arg("-x").arg(&script))
            .with_context(|| format!("{shown} is not executable; run: chmod +x {shown}"))?;
        if which("shellcheck").is_some() {
            run(Command::new("shellcheck").arg(&script)).with_context(|| shown)?;
        }
    }
    Ok(())
}

/// Every Rust file says in its first lines what it is for, and is short enough to read in one go.
fn source_files() -> Result<()> {
    let mut faults = Vec::new();
    for file in tracked(|path, _| path.extension().is_some_and(|extension| extension == "rs"))? {
        let shown = workspace::shown(&file);
        let text = fs::read_to_string(&file).with_context(|| shown.clone())?;
        let lines = text.lines().count();
        if lines > MAX_LINES {
            faults.push(format!("{shown}: {lines} lines, more than {MAX_LINES}"));
        }
        if !text.lines().any(|line| line.starts_with("//!")) {
            faults.push(format!("{shown}: no `//!` that says what the file is for"));
        }
    }
    if faults.is_empty() { Ok(()) } else { bail!("{}", faults.join("; ")) }
}

/// Files of the checkout that git knows, or would with `git add`, and that `wanted` picks by path and content.
fn tracked(wanted: impl Fn(&Path, &str) -> bool) -> Result<Vec<PathBuf>> {
    let root = workspace::root();
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(&root)
        .stderr(Stdio::inherit());
    let files = output(&mut list).context("cannot list the files of the checkout with git")?;
    Ok(files
        .lines()
        .map(|file| root.join(file))
        .filter(|path| fs::read_to_string(path).is_ok_and(|text| wanted(path, &text)))
        .collect())
}
