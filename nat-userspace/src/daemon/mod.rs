//! The daemon: brings a gateway up, keeps it right while the host changes, and takes it down.

mod bring_up;
mod bumps;
pub mod detach;
mod error;
mod gateway;
mod host;
mod interfaces;
mod options;
mod reload;
mod services;
mod upkeep;

use std::future::Future;
use std::rc::Rc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

pub use error::Error;
pub use options::{AtExit, Options};

use crate::datapath::{Adoption, object};
use crate::host::watch::Watch;
use crate::model;
use crate::observe::metrics;
use bring_up::Running;
use gateway::{Command, Gateway};
use services::collector::Collector;
use services::events::Events;
use services::health::Health;
use services::wait::maybe;

/// Commands that wait: more than anybody sends before the owner has time.
const COMMANDS: usize = 16;

/// Runs a gateway until SIGTERM or SIGINT; SIGHUP makes it read its configuration again. Needs a tokio runtime with I/O and
/// time; spawns nothing but netlink connections.
pub async fn run(gateway: model::gateway::Gateway, options: Options) -> Result<(), Error> {
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
    let (mut running, adoption) = Running::start(gateway, &options).await?;
    announce(&running, &adoption);
    let waiting = waiting(&running);

    let pins = running.pins().clone();
    let mut events = Events::open(&mut running.plane, options.log);
    let at_exit = options.at_exit;
    let (commands, received) = mpsc::channel(COMMANDS);
    let (changed, state_dir) = (Rc::new(Notify::new()), options.state_dir.clone());
    // Boxed, here and below: its state is large, and would be held here several times over.
    let owner = Box::pin(Gateway::new(running, watch, options, received, Rc::clone(&changed))).await?;
    let counts = owner.counts();
    let mut owner = Box::pin(owner.run());
    let outcome = {
        let collector = match Collector::new(&pins) {
            Ok(collector) => collector,
            Err(e) => return Err(fail(owner, &commands, e.into()).await),
        };
        let mut health = match Health::new(&pins, &state_dir, changed) {
            Ok(health) => health,
            Err(e) => return Err(fail(owner, &commands, e.into()).await),
        };
        let (usage, found) = (collector.usage(), health.found());
        let shown = services::metrics::Shown::default();
        let scrape = move || services::metrics::read(&pins, &usage, counts.get(), &found, &shown);
        let serving = maybe(listener.map(|l| metrics::serve_on(l, scrape)));
        let collecting = collector.run();
        health.start().await;
        if let Some(name) = waiting {
            tracing::warn!(
                "ready, and waiting: {name} has no IPv4 address, so there is no EIP and nothing is translated yet"
            );
        }
        let checking = health.run();
        tokio::pin!(serving, collecting, checking);
        loop {
            tokio::select! {
                _ = terminate.recv() => break Ok("SIGTERM"),
                _ = interrupt.recv() => break Ok("SIGINT"),
                _ = hangup.recv() => {
                    tracing::info!("SIGHUP: reading the configuration again");
                    // Full: there are enough reloads to come.
                    let _ = commands.try_send(Command::Reload);
                }
                ended = &mut owner => return ended,
                () = events.step() => {}
                result = &mut collecting => match result {
                    Ok(never) => match never {},
                    Err(e) => break Err(Error::Datapath(e)),
                },
                never = &mut serving => match never {},
                never = &mut checking => match never {},
            }
        }
    };
    // An error only says that there is no systemd.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    match outcome {
        Ok(signal) => {
            tracing::info!("{signal}: stopping");
            stop(owner, &commands, at_exit).await
        }
        Err(e) => Err(fail(owner, &commands, e).await),
    }
}

/// Has the gateway taken down because of `error`.
async fn fail(
    owner: impl Future<Output = Result<(), Error>>,
    commands: &mpsc::Sender<Command>,
    error: Error,
) -> Error {
    let ended = stop(owner, commands, AtExit::TakeDown).await;
    ended.unwrap_or_else(|e| tracing::error!("while cleaning up: {e}"));
    error
}

/// Has the owner stop, and waits until it has.
async fn stop(
    owner: impl Future<Output = Result<(), Error>>,
    commands: &mpsc::Sender<Command>,
    at_exit: AtExit,
) -> Result<(), Error> {
    // Fails only when the owner has ended.
    let (_, ended) = tokio::join!(commands.send(Command::Stop(at_exit)), owner);
    ended
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

/// The interface whose address natgw waits for, when there is no EIP at all yet.
fn waiting(running: &Running) -> Option<String> {
    let has_eip = running.gateway.pools.iter().any(|p| !p.eips.is_empty());
    let first = running.gateway.followed().first().map(|(name, _)| (*name).to_owned());
    first.filter(|_| !has_eip)
}
