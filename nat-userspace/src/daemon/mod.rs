//! The daemon: brings a gateway up, keeps it right while the host changes, and takes it down.

mod bumps;
pub mod detach;
mod episode;
mod error;
mod events;
mod gateway;
mod host;
mod mtus;
mod neighbours;
mod snapshot;
mod wait;

use std::path::PathBuf;

use tokio::signal::unix::{SignalKind, signal};

pub use error::Error;

use crate::collector::Collector;
use crate::control::desired::Gateway;
use crate::datapath::load::LogLevel;
use crate::datapath::{Adoption, object};
use crate::export::metrics;
use crate::net::watch::Watch;
use gateway::Running;
use host::Host;

/// What a daemon needs to know beside its gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--state-dir`.
    pub state_dir: PathBuf,
    /// `--bpffs`.
    pub bpffs: PathBuf,
    /// What becomes of the data plane when the daemon stops.
    pub at_exit: AtExit,
    /// Slow-path diagnostics of the packet path.
    pub log: LogLevel,
}

/// What becomes of the data plane when the daemon stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtExit {
    /// It is taken down.
    #[default]
    TakeDown,
    /// It stays up and is adopted by the next start.
    Persist,
}

/// Runs a gateway until SIGTERM or SIGINT. Needs a tokio runtime with I/O and time; spawns nothing but netlink
/// connections.
pub async fn run(gateway: Gateway, options: Options) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::Signals)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::Signals)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(Error::Signals)?;
    // Whatever can be refused without touching the host, first.
    object::bytes()?;
    let listener = match gateway.metrics {
        Some(addr) => Some(metrics::bind(addr)?),
        None => None,
    };
    let watch = Watch::new().await?;
    let (running, adoption) = Running::start(gateway, &options).await?;
    announce(&running, &adoption);

    let mut host = Host::new(running, watch).await?;
    let collector = match Collector::new(host.running.pins()) {
        Ok(collector) => collector,
        Err(e) => return Err(host.fail(e.into()).await),
    };
    let usage = collector.usage();
    let pins = host.running.pins().clone();
    let counts = host.counts();
    let mut events = events::Events::open(&mut host.running, options.log);
    ready();
    let outcome = {
        let serving = wait::maybe(
            listener.map(|l| metrics::serve_on(l, move || snapshot::read(&pins, &usage, counts.get()))),
        );
        let collecting = collector.run();
        tokio::pin!(serving, collecting);
        loop {
            tokio::select! {
                _ = terminate.recv() => break Ok("SIGTERM"),
                _ = interrupt.recv() => break Ok("SIGINT"),
                _ = hangup.recv() => tracing::warn!(
                    "SIGHUP: the configuration cannot be reloaded yet; restart natgw with --persist to apply it without losing a flow"
                ),
                wake = host.wake() => match wake {
                    Ok(wake) => if let Err(e) = host.handle(wake).await { break Err(e) },
                    Err(e) => break Err(e),
                },
                () = events.step() => {}
                result = &mut collecting => match result {
                    Ok(never) => match never {},
                    Err(e) => break Err(Error::Datapath(e)),
                },
                never = &mut serving => match never {},
            }
        }
    };
    // An error only says that there is no systemd.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    match outcome {
        Ok(signal) => {
            tracing::info!("{signal}: stopping");
            match options.at_exit {
                AtExit::Persist => {
                    host.running.persist();
                    Ok(())
                }
                AtExit::TakeDown => host.stop().await,
            }
        }
        Err(e) => Err(host.fail(e).await),
    }
}

fn announce(running: &Running, adoption: &Adoption) {
    match adoption {
        Adoption::Fresh => {}
        Adoption::Adopted => tracing::info!("adopted the data plane of an earlier run, with its flows"),
        Adoption::Replaced { reason } => {
            tracing::warn!("replaced the data plane of an earlier run and lost its flows: {reason}");
        }
    }
    for interface in running.interfaces() {
        tracing::info!(
            interface = interface.name,
            side = ?interface.side,
            xdp = ?interface.xdp_mode,
            "attached"
        );
    }
}

fn ready() {
    tracing::info!("ready: packets are being translated");
    // An error only says that there is no systemd.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
}
