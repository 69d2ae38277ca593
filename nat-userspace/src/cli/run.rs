//! `natgw run`: from what was typed to a running daemon. Everything is validated before the host is touched.

use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::args::{LogFormat, LogLevel, RunArgs};
use super::instance::Instance;
use crate::config::Config;
use crate::daemon::{self, AtExit, Options};
use crate::datapath::load;
use crate::host::facts::HostFacts;

/// Runs a gateway until it is told to stop.
pub async fn run(instance: &Instance, args: &RunArgs) -> anyhow::Result<()> {
    let config = Config::load(args.gateway.config.as_deref(), &args.gateway)?;
    let gateway = config.resolve(&HostFacts::read().await?)?;
    start_logging(args);
    let options = Options {
        flags: args.gateway.clone(),
        config: Box::new(config),
        state_dir: instance.state_dir.clone(),
        bpffs: instance.bpffs(),
        at_exit: if args.persist { AtExit::Persist } else { AtExit::TakeDown },
        log: if args.bpf_log { load::LogLevel::Debug } else { load::LogLevel::Off },
    };
    // The daemon's state is large, and waits on the heap rather than in every caller's frame.
    Ok(Box::pin(daemon::run(gateway, options)).await?)
}

/// To standard error. Without times under systemd: journald has its own.
fn start_logging(args: &RunArgs) {
    let level = if args.bpf_log { args.log_level.max(LogLevel::Debug) } else { args.log_level };
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(super::table::Paint::stderr() == super::table::Paint::Colour)
        .with_target(false)
        .with_env_filter(filter(level));
    let journald = std::env::var_os("JOURNAL_STREAM").is_some();
    // Installing fails only when something else in this process already did: then that is the log. It also
    // takes what libraries say through `log`, aya-log's messages from the packet path among them.
    let _ = match (args.log_format, journald) {
        (LogFormat::Json, _) => builder.json().try_init(),
        (LogFormat::Text, true) => builder.without_time().try_init(),
        (LogFormat::Text, false) => builder.try_init(),
    };
}

/// Below info, libraries talk of their own affairs, by the page: theirs stays at info.
fn filter(level: LevelFilter) -> EnvFilter {
    let quiet = ["aya", "aya_obj", "hyper", "mio", "netlink_packet_route", "netlink_proto", "rtnetlink"];
    let libraries = quiet.iter().filter(|_| level > LevelFilter::INFO).map(|name| format!("{name}=info"));
    // One line for every overrun of a socket; the daemon tells of them itself, once.
    let overruns = (level > LevelFilter::ERROR).then(|| "netlink_proto::framed=error".to_owned());
    let directives: Vec<String> =
        std::iter::once(level.to_string()).chain(libraries).chain(overruns).collect();
    EnvFilter::new(directives.join(","))
}
