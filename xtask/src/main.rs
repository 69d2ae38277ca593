//! `cargo xtask <verb>`: everything a person types in this repository. One file per verb.

mod bench;
mod bpf;
mod build;
mod lint;
mod owner;
mod packages;
mod privilege;
mod process;
mod run;
mod test;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Build, run and test natgw. Each verb sets up what it needs and says so.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Build the BPF object and the `natgw` binary that embeds it
    Build(build::Args),
    /// Run every test that CI runs, or those whose name contains FILTER
    Test(test::Args),
    /// Run the tests that need another kernel or other devices than this machine's, in a virtual machine
    Vm(vm::Args),
    /// Measure natgw next to plain forwarding and nftables
    Bench(bench::Args),
    /// Check formatting, lints, documentation, imports and scripts
    Lint(lint::Args),
    /// Run the lab on this machine; or, after `--`, `natgw run` on real interfaces
    Run(run::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().verb {
        Verb::Build(args) => build::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Vm(args) => vm::main(&args),
        Verb::Bench(args) => bench::main(&args),
        Verb::Lint(args) => lint::main(&args),
        Verb::Run(args) => run::main(&args),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            process::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}
