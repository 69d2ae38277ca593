//! From what was typed to an exit status.

use std::process::ExitCode;

use clap::Parser as _;

use super::args::Cli;
use super::verbs::run_verb;

/// Exit status: 0 done, 1 failed, 2 usage.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => report(&e),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    // One thread: everything natgw waits for is a file descriptor.
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run_verb(cli))
}

fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(usage) = error.downcast_ref::<clap::Error>() {
        // Nothing sensible can be done when standard error is gone.
        let _ = usage.print();
        return ExitCode::from(2);
    }
    if is_broken_pipe(error) {
        // `natgw flows | head` is done when head is.
        return ExitCode::SUCCESS;
    }
    eprintln!("natgw: {}", one_line(error));
    ExitCode::FAILURE
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let io = cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        let json = cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
        io.or(json) == Some(std::io::ErrorKind::BrokenPipe)
    })
}

/// The error and its causes. Some libraries repeat the cause in their own text: it is said once.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if line.is_empty() {
            line = text;
        } else if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        let io = std::io::Error::other("no space");
        let error =
            Err::<(), _>(io).context("cannot write").context("cannot write: no space").expect_err("err");
        assert_eq!(one_line(&error), "cannot write: no space");
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let pipe = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        assert!(is_broken_pipe(&anyhow::Error::from(pipe()).context("printing")));
        assert!(is_broken_pipe(&serde_json::Error::io(pipe()).into()));
        assert!(!is_broken_pipe(&anyhow::anyhow!("other")));
    }
}
