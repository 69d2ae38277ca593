//! Which file does which verb.

use std::io::{BufWriter, Write};

use super::args::{Cli, Verb};
use super::{check, completions, detach, doctor, eip, flows, man, run, stats, status};

/// Bytes that are written at a time: a million flows are hundreds of megabytes of JSON.
const BUFFER: usize = 64 * 1024;

/// Does what was typed. Results go to standard output, and nothing else does.
pub async fn run_verb(cli: Cli) -> anyhow::Result<()> {
    let mut out = BufWriter::with_capacity(BUFFER, std::io::stdout());
    let Cli { instance, verb } = cli;
    match &verb {
        Verb::Run(args) => run::run(&instance, args).await,
        Verb::Check(flags) => check::run(flags, &mut out).await,
        Verb::Status(output) => status::run(&instance, *output, &mut out).await,
        Verb::Flows(args) => flows::run(&instance, args, &mut out),
        Verb::Stats(args) => stats::run(&instance, args, &mut out).await,
        Verb::Eip(verb) => eip::run(&instance, verb, &mut out),
        Verb::Doctor(args) => doctor::run(args, &mut out).await,
        Verb::Detach(args) => detach::run(&instance, *args, &mut out).await,
        Verb::Completions { shell } => completions::run(*shell, &mut out),
        Verb::Man => man::run(&mut out),
    }?;
    Ok(out.flush()?)
}
