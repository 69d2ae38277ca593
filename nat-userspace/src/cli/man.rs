//! `natgw man`: the manual page, from the same table as `--help`.

use std::io::Write;

use clap::CommandFactory as _;

use super::args::Cli;

/// Prints natgw(1) in roff, a section for each verb included.
pub fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(out)?;
    let verbs = command.get_subcommands().filter(|c| c.get_name() != "help");
    for verb in verbs {
        writeln!(out, ".SH NATGW {}", verb.get_name().to_uppercase())?;
        let page = clap_mangen::Man::new(verb.clone());
        page.render_description_section(out)?;
        page.render_synopsis_section(out)?;
        page.render_options_section(out)?;
    }
    Ok(())
}
