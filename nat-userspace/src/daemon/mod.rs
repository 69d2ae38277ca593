//! The daemon: brings a gateway up, keeps it right while the host changes, and takes it down.

mod bumps;
pub mod detach;
mod error;
mod gateway;
mod host;
mod options;
mod services;

use tokio::signal::unix::{SignalKind, signal};

pub use error::Error;
pub use options::{AtExit, Options};

use crate::datapath::{Adoption, object};
use crate::host::watch::Watch;
use crate::model::gateway::Gateway;
use crate::observe::metrics;
use gateway::Running;
use host::Host;
use services::collector::Collector;

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
    let mut events = services::events::Events::open(&mut host.running.plane, options.log);
    ready();
    let outcome = {
        let serving = services::wait::maybe(
            listener
                .map(|l| metrics::serve_on(l, move || services::metrics::read(&pins, &usage, counts.get()))),
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
