//! The benchmark behind `cargo xtask bench`: what natgw costs and carries, next to what else could do the job, in one
//! run on one machine. This file reads the command line; [`mod@run`] measures, and [`report`] writes what was found.
#![expect(clippy::cast_precision_loss, reason = "53 bits are plenty for what is measured")]

mod births;
mod conntrack;
mod context;
mod cores;
mod endpoints;
mod knobs;
mod nft;
mod parts;
mod report;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use clap::builder::PossibleValuesParser;

use context::{Context, Effort};
use parts::{PARTS, Part};
use report::baseline::{self, Baseline};
use report::check::describe_outcome;
use report::document::Report;
use report::machine::Machine;
use report::markdown::{self, Extent};
use report::{projection, terminal};
use run::{check, measure};

/// What natgw costs and carries, next to what else could do the job. `cargo xtask bench` builds and runs this.
#[derive(Debug, Parser)]
#[command(version)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag that a person types")]
struct Args {
    /// One minute instead of several
    #[arg(long)]
    quick: bool,
    /// Only this part (may be given several times)
    #[arg(long, value_name = "PART", value_parser = PossibleValuesParser::new(PARTS.map(|part| part.name)))]
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
    /// Compare with the committed figures; alone, it measures only what is quick and stable
    #[arg(long, conflicts_with_all = ["md", "save_baseline"])]
    check: bool,
    /// Make these figures the ones that --check compares with
    #[arg(long)]
    save_baseline: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(e) => {
            eprintln!("natgw-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    let path = |name: &str, default: &str| PathBuf::from(std::env::var_os(name).unwrap_or(default.into()));
    let root = path("NATGW_ROOT", ".");
    let context = Context {
        effort: match args {
            Args { quick: true, .. } => Effort::Quick,
            Args { check: true, .. } => Effort::Check,
            _ => Effort::Full,
        },
        bench_object: path("NATGW_BENCH_BPF_OBJECT", "target/bpf/natgw-bench-bpf"),
    };
    // Before measuring, so that what is wrong with it is said at once.
    let baseline_file = root.join(baseline::FILE);
    let committed = if args.check { Some(Baseline::load(&baseline_file)?) } else { None };

    let parts = wanted(args);
    let mut report = match &args.from {
        Some(file) => read(file)?,
        None => measure_and_print(&context, &parts, args)?,
    };
    let mut failed = !report.failures.is_empty();
    let verdict = match &committed {
        Some(committed) => {
            let again: &[Part] = if args.from.is_some() { &[] } else { &parts };
            let (outcome, attempts) = check(&context, again, &mut report, committed)?;
            if outcome.compared == 0 {
                bail!("nothing to compare: {} has none of these figures", baseline::FILE);
            }
            failed |= !outcome.regressions.is_empty() || !report.failures.is_empty();
            Some(describe_outcome(&outcome, attempts))
        }
        None => None,
    };
    print!("{}", terminal::closing(&report));
    if let Some(verdict) = verdict {
        print!("{verdict}");
    }
    if let Some(file) = &args.json {
        report.save(file)?;
    }
    if args.md {
        let all = PARTS.iter().all(|part| report.sections.iter().any(|section| section.id == part.name));
        let extent = if all { Extent::Everything } else { Extent::Parts };
        markdown::write(&report, extent, &root)?;
        if extent == Extent::Parts {
            eprintln!("natgw-bench: not all parts are there: machine and targets in {} stay", markdown::PAGE);
        }
    }
    if args.save_baseline {
        let mut baseline =
            if baseline_file.exists() { Baseline::load(&baseline_file)? } else { Baseline::default() };
        baseline.replace_with(&report);
        baseline.save(&baseline_file)?;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Parts to run: those named, or all; with `--check` alone those that are stable on a busy machine.
fn wanted(args: &Args) -> Vec<Part> {
    const STABLE: &str = "program";
    let named = |part: &&Part| args.only.iter().any(|only| only == part.name);
    match (args.only.is_empty(), args.check) {
        (false, _) => PARTS.iter().filter(named).copied().collect(),
        (true, true) => PARTS.iter().filter(|part| part.name == STABLE).copied().collect(),
        (true, false) => PARTS.to_vec(),
    }
}

/// Prints each section as soon as it is there, and saves what there is so far: whatever happens next, it is not lost.
fn measure_and_print(context: &Context, parts: &[Part], args: &Args) -> Result<Report> {
    print!("{}", terminal::machine(&Machine::here()));
    let mut report = measure(context, parts, &mut |report, section| {
        print!("{}", terminal::section(section));
        args.json.as_ref().map_or(Ok(()), |file| report.save(file))
    })?;
    if !args.check {
        projection::renew(&mut report);
        if let Some(plan) = report.sections.last().filter(|last| last.id == projection::PART) {
            print!("{}", terminal::section(plan));
        }
    }
    Ok(report)
}

fn read(file: &std::path::Path) -> Result<Report> {
    let mut report = Report::load(file)?;
    projection::renew(&mut report);
    print!("{}", terminal::machine(&report.machine));
    for section in &report.sections {
        print!("{}", terminal::section(section));
    }
    Ok(report)
}
