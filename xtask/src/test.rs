//! `cargo xtask test`: every test that CI runs, layer by layer, from pure computations to real traffic.

mod deep;
mod layers;
mod outcome;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};

use crate::build::{Profile, Program, programs};
use crate::process::say;
use crate::{bpf, packages, privilege};
use layers::Layer;
pub(crate) use layers::{Environment, compile, run_harness};
use outcome::Outcome;

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Run only layers whose name contains this (may be given several times)
    #[arg(long, value_name = "NAME")]
    layer: Vec<String>,
    /// Run what takes too long for CI instead: tests called deep_* that are marked `#[ignore = "deep: …"]`, those of
    /// nat-common with optimisation, and the stress suite with storms of two minutes
    #[arg(long, conflicts_with = "layer")]
    deep: bool,
    /// Options of the test harness: -- --nocapture --test-threads 1
    #[arg(last = true, value_name = "HARNESS OPTIONS")]
    harness: Vec<String>,
}

impl Args {
    fn wants(&self, layer: &Layer) -> bool {
        self.layer.is_empty() || self.layer.iter().any(|part| layer.name.contains(part.as_str()))
    }
}

/// `cargo xtask test`.
pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    // Everything that compiles comes first: with sudo, it then belongs to the user.
    let object = bpf::build()?;
    let built = programs(&[Program::Natgw], Profile::Release, &object)?;
    let environment = Environment { natgw: built.into_iter().next().unwrap_or_default(), object };
    if args.deep {
        return deep(args, &environment);
    }
    let layers = layers::build(&environment)?;
    prepare()?;

    let mut summary: Vec<(String, Outcome)> = Vec::new();
    for layer in layers.iter().filter(|layer| args.wants(layer)) {
        say(&format!("test layer: {}", layer.name));
        let start = Instant::now();
        let mut outcome = layer.run(&environment, args.filter.as_deref(), &args.harness)?;
        outcome.took = start.elapsed();
        summary.push((layer.name.clone(), outcome));
    }
    if summary.is_empty() {
        let names: Vec<_> = layers.iter().map(|layer| layer.name.as_str()).collect();
        bail!("no such layer; there are: {}", names.join(", "));
    }
    Ok(report(&summary))
}

/// What the tests need beyond compiling.
fn prepare() -> Result<()> {
    privilege::require("testing (namespaces, XDP)")?;
    packages::ensure(&[packages::LAB, packages::TESTS])
}

/// `cargo xtask test --deep`.
fn deep(args: &Args, environment: &Environment) -> Result<ExitCode> {
    let found = deep::find(environment, args.filter.as_deref())?;
    prepare()?;
    let summary = found.into_iter().map(|deep| deep.run(&args.harness)).collect::<Result<Vec<_>>>()?;
    Ok(report(&summary))
}

/// Prints a line per layer and the total, which is the last line and looks the same for ever.
pub(crate) fn report(summary: &[(String, Outcome)]) -> ExitCode {
    let total = summary.iter().fold(Outcome::default(), |sum, (_, outcome)| sum + *outcome);
    println!();
    let width = summary.iter().map(|(name, _)| name.chars().count()).fold(28, usize::max);
    for (name, outcome) in summary {
        println!("{name:<width$} {outcome}");
    }
    if total.passed + total.failed == 0 {
        say("no test ran: the filter matches none");
    }
    println!("{} passed, {} failed", total.passed, total.failed);
    if total.failed == 0 && total.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
