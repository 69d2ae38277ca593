//! `cargo xtask build`: the BPF object, and the binaries that embed it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::process::{cargo, run};
use crate::{bpf, workspace};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build natgw with the dev profile (the BPF object is always optimised: the verifier needs it so)
    #[arg(long)]
    debug: bool,
}

/// How natgw and the lab are compiled.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// `target/debug`.
    Dev,
    /// `target/lab`: as a release, but quick to compile.
    Lab,
    /// `target/release`.
    Release,
}

impl Profile {
    /// Its name in Cargo.toml, and the directory that its results are in.
    const fn name_and_dir(self) -> (&'static str, &'static str) {
        match self {
            Self::Dev => ("dev", "debug"),
            Self::Lab => ("lab", "lab"),
            Self::Release => ("release", "release"),
        }
    }
}

/// A program of this workspace.
#[derive(Clone, Copy)]
pub(crate) enum Program {
    /// The gateway.
    Natgw,
    /// The lab behind `cargo xtask run`.
    Lab,
    /// The benchmark behind `cargo xtask bench`.
    Bench,
}

impl Program {
    fn package_and_name(self) -> (&'static str, &'static str) {
        match self {
            Self::Natgw => ("nat-userspace", "natgw"),
            Self::Lab => ("nat-tests", "natgw-lab"),
            Self::Bench => ("nat-bench", "natgw-bench"),
        }
    }
}

/// `cargo xtask build`.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let profile = if args.debug { Profile::Dev } else { Profile::Release };
    let object = bpf::build()?;
    let natgw = programs(&[Program::Natgw], profile, &object)?;
    for file in std::iter::once(&object).chain(&natgw) {
        let size = fs::metadata(file).with_context(|| format!("cannot read {}", file.display()))?.len();
        println!("{:<32} {:>8} KiB", workspace::shown(file), size.div_ceil(1024));
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds `programs` around `object` and returns their paths in the same order.
pub(crate) fn programs(programs: &[Program], profile: Profile, object: &Path) -> Result<Vec<PathBuf>> {
    let mut command = cargo();
    let (name, dir) = profile.name_and_dir();
    command.args(["build", "--profile", name]).env("NATGW_BPF_OBJECT", object);
    for (package, name) in programs.iter().map(|program| program.package_and_name()) {
        command.args(["--package", package, "--bin", name]);
    }
    run(&mut command)?;
    let dir = workspace::target().join(dir);
    Ok(programs.iter().map(|program| dir.join(program.package_and_name().1)).collect())
}
