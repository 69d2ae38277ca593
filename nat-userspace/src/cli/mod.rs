//! The command line: one file per verb. [`args`] is what can be typed, [`instance`] which gateway is meant, [`table`] how
//! output looks.

pub mod args;
mod check;
mod completions;
mod delete;
mod detach;
mod eip;
mod flows;
pub mod instance;
mod man;
mod run;
mod stats;
mod status;
mod table;

use std::io::{BufWriter, Write};

use args::{Cli, Verb};

/// Bytes that are written at a time: a million flows are hundreds of megabytes of JSON.
const BUFFER: usize = 64 * 1024;

/// Does what was typed. Results go to standard output, and nothing else does.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout());
    let Cli { instance, verb } = cli;
    match &verb {
        Verb::Run(args) => run::run(&instance, args).await,
        Verb::Check(flags) => check::run(flags, &mut out).await,
        Verb::Status(output) => status::run(&instance, *output, &mut out).await,
        Verb::Flows(args) => flows::run(&instance, args, &mut out),
        Verb::Stats(args) => stats::run(&instance, args, &mut out).await,
        Verb::Eip(verb) => eip::run(&instance, verb, &mut out),
        Verb::Detach(args) => detach::run(&instance, *args, &mut out).await,
        Verb::Completions { shell } => completions::run(*shell, &mut out),
        Verb::Man => man::run(&mut out),
    }?;
    Ok(out.flush()?)
}
