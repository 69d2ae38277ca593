//! `cargo xtask run`: the lab on this machine; after `--`, the gateway on real interfaces.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{Profile, Program, programs};
use crate::process::say;
use crate::{bpf, packages, privilege};

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Flags of the lab, such as `--once` (run, report, exit)
    #[arg(allow_hyphen_values = true, value_name = "LAB FLAGS")]
    lab: Vec<String>,
    /// Flags of `natgw run`, for real interfaces: -- --inside eth1 --outside eth0 --eip 203.0.113.10
    #[arg(last = true, value_name = "NATGW FLAGS")]
    gateway: Vec<String>,
}

/// `cargo xtask run`.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    let lab = args.gateway.is_empty();
    // Everything that compiles comes first: with sudo, it then belongs to the user.
    let object = bpf::build()?;
    let wanted: &[Program] = if lab { &[Program::Natgw, Program::Lab] } else { &[Program::Natgw] };
    // On real interfaces it is the program that `cargo xtask build` makes.
    let profile = if lab { Profile::Lab } else { Profile::Release };
    say("compiling natgw and its libraries (the first time takes a minute or two, later ones seconds)");
    let built = programs(wanted, profile, &object)?;
    let (Some(natgw), Some(program)) = (built.first(), built.last()) else {
        unreachable!("two or one were asked for")
    };
    privilege::require(if lab { "the lab (namespaces, XDP)" } else { "a gateway (XDP, addresses)" })?;
    if lab {
        packages::ensure(&[packages::LAB])?;
    }
    let mut command = Command::new(program);
    if lab {
        command.args(&args.lab);
    } else {
        command.arg("run").args(&args.gateway);
    }
    command.env("NATGW_BIN", natgw).env("NATGW_BPF_OBJECT", &object);
    let shown: Vec<_> = command.get_args().map(|arg| arg.to_string_lossy()).collect();
    say(&format!("running {} {}", crate::workspace::shown(program), shown.join(" ")));
    // In our place, so that signals and the exit status are its own.
    Err(command.exec()).with_context(|| format!("cannot start {}", program.display()))
}
