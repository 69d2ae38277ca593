//! `cargo xtask bench`: natgw next to plain forwarding and nftables, in one run.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use crate::build::{Profile, Program, programs};
use crate::process::{as_owner, output, say};
use crate::{bpf, packages, privilege, toolchain, workspace};

/// Options of `cargo xtask bench`. They are declared here too, and not only in the benchmark, so that `--help`
/// answers and a typing error is found before anything is built.
#[derive(clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
pub(crate) struct Args {
    /// One minute instead of several: fewer rounds, sizes and flows
    #[arg(long)]
    quick: bool,
    /// Only this part (may be given several times): program, rig, newflows, latency, scale, goodput
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
    /// Write everything that was measured into FILE, as one JSON document
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure nothing: take what an earlier run wrote with --json
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "only", "json"])]
    from: Option<PathBuf>,
    /// Rewrite the tables of docs/benchmarks.md and the pictures in docs/plots
    #[arg(long)]
    md: bool,
    /// Compare with the committed figures (bench/baseline.json); alone, it measures only what is quick and
    /// stable
    #[arg(long, conflicts_with_all = ["md", "save_baseline"])]
    check: bool,
    /// Make these figures the ones that --check compares with
    #[arg(long)]
    save_baseline: bool,
}

impl Args {
    /// The same, for the benchmark.
    fn words(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = Vec::new();
        let switches = [
            (self.quick, "--quick"),
            (self.md, "--md"),
            (self.check, "--check"),
            (self.save_baseline, "--save-baseline"),
        ];
        words.extend(switches.into_iter().filter(|(on, _)| *on).map(|(_, name)| name.into()));
        words.extend(self.only.iter().flat_map(|part| ["--only".into(), part.into()]));
        for (name, file) in [("--json", &self.json), ("--from", &self.from)] {
            words.extend(file.iter().flat_map(|file| [name.into(), file.into()]));
        }
        words
    }
}

/// `cargo xtask bench`.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    // Everything that compiles comes first: with sudo, it then belongs to the user.
    let toolchain = toolchain::prepare()?;
    let object = bpf::build_with(&toolchain)?;
    let bench_object = bpf::build_bench(&toolchain)?;
    let built = programs(&[Program::Natgw, Program::Bench], Profile::Release, &object)?;
    let [natgw, bench] = built.as_slice() else { unreachable!("two were asked for") };
    if args.from.is_none() {
        privilege::require("measuring (namespaces, XDP)")?;
        packages::ensure(&[packages::LAB, packages::BENCH])?;
    }
    let words = args.words();
    let mut command = Command::new(bench);
    command
        .args(&words)
        .env("NATGW_ROOT", workspace::root())
        .env("NATGW_COMMIT", commit())
        .env("NATGW_BPF_COMPILER", toolchain.identity())
        .env("NATGW_BIN", natgw)
        .env("NATGW_BPF_OBJECT", &object)
        .env("NATGW_BENCH_BPF_OBJECT", &bench_object);
    let shown: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    say(&format!("running {} {}", workspace::shown(bench), shown.join(" ")));
    Err(command.exec()).with_context(|| format!("cannot start {}", bench.display()))
}

/// The commit that is measured; empty outside a git checkout.
fn commit() -> String {
    let mut git = Command::new("git");
    git.args(["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"])
        .current_dir(workspace::root());
    // git refuses to look into a checkout of somebody else, also as root.
    as_owner(&mut git);
    output(&mut git).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Args;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn passes_every_flag_on() {
        let typed = [
            "bench",
            "--quick",
            "--md",
            "--save-baseline",
            "--only",
            "rig",
            "--only",
            "scale",
            "--json",
            "a file.json",
        ];
        let mut words = Line::try_parse_from(typed).expect("valid").args.words();
        let mut expected: Vec<_> = typed[1..].iter().map(Into::into).collect::<Vec<std::ffi::OsString>>();
        words.sort();
        expected.sort();
        assert_eq!(words, expected);
        let words = Line::try_parse_from(["bench", "--check", "--from", "x"]).expect("valid").args.words();
        assert_eq!(words, ["--check", "--from", "x"]);
    }

    #[test]
    fn refuses_to_compare_with_what_it_is_about_to_write() {
        assert!(Line::try_parse_from(["bench", "--check", "--save-baseline"]).is_err());
    }
}
