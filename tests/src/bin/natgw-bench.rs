//! The benchmark behind `cargo xtask bench`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use nat_tests::bench::{Context, Effort, PARTS};

/// What natgw costs and carries, next to what else could do the job.
#[derive(Debug, Parser)]
struct Args {
    /// One minute instead of several
    #[arg(long)]
    quick: bool,
    /// Only this part (may be given several times)
    #[arg(long, value_name = "PART")]
    only: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("natgw-bench: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let path = |name: &str, default: &str| PathBuf::from(std::env::var_os(name).unwrap_or(default.into()));
    let context = Context {
        effort: if args.quick { Effort::Quick } else { Effort::Full },
        natgw_object: path("NATGW_BPF_OBJECT", "target/bpf/natgw-bpf"),
        bench_object: path("NATGW_BENCH_BPF_OBJECT", "target/bpf/natgw-bench-bpf"),
        natgw: path("NATGW_BIN", "target/release/natgw"),
    };
    for part in PARTS.iter().filter(|p| args.only.is_empty() || args.only.iter().any(|o| o == p.name)) {
        let section = (part.run)(&context)?;
        println!("{section:#?}");
    }
    Ok(())
}
