//! `natgw completions SHELL`.

use std::io::Write;

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;

/// Prints the script that a shell loads.
pub fn run(shell: Shell, out: &mut dyn Write) -> anyhow::Result<()> {
    // clap_complete panics when its writer fails; a buffer does not.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "natgw", &mut script);
    out.write_all(&script)?;
    Ok(())
}
