//! `cargo xtask bench`: natgw next to plain forwarding and nftables, in one run.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{Profile, Program, programs};
use crate::process::say;
use crate::{bpf, packages, privilege, toolchain, workspace};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Flags of the benchmark; `cargo xtask bench --help` lists them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "BENCH FLAGS")]
    flags: Vec<String>,
}

/// `cargo xtask bench`.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    // Everything that compiles comes first: with sudo, it then belongs to the user.
    let toolchain = toolchain::prepare()?;
    let object = bpf::build_with(&toolchain)?;
    let bench_object = bpf::build_bench(&toolchain)?;
    let built = programs(&[Program::Natgw, Program::Bench], Profile::Release, &object)?;
    let [natgw, bench] = built.as_slice() else { unreachable!("two were asked for") };
    privilege::require("measuring (namespaces, XDP)")?;
    packages::ensure(&[packages::LAB, packages::BENCH])?;
    let mut command = Command::new(bench);
    command
        .args(&args.flags)
        .env("NATGW_BIN", natgw)
        .env("NATGW_BPF_OBJECT", &object)
        .env("NATGW_BENCH_BPF_OBJECT", &bench_object);
    say(&format!("running {} {}", workspace::shown(bench), args.flags.join(" ")));
    Err(command.exec()).with_context(|| format!("cannot start {}", bench.display()))
}
