//! x
#[derive(clap::Args)]
pub(crate) struct Args {}
pub(crate) fn main(_: &Args) -> anyhow::Result<std::process::ExitCode> {
    Ok(0.into())
}
