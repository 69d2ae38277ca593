//! The owner of a running gateway. Nobody else changes the gateway: it does so when a command asks for it, and when the
//! host changes.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::{Notify, mpsc};

use super::bring_up::Running;
use super::error::{Error, causes};
use super::host::{Host, Wake};
use super::options::{AtExit, Options};
use super::reload;
use crate::host::watch::Watch;
use crate::observe::metrics::HostCounts;

/// What the owner is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Read the configuration again, and make it the running one.
    Reload,
    /// Come to an end.
    Stop(AtExit),
}

/// A gateway that is up, with its owner.
pub(super) struct Gateway {
    host: Host,
    options: Options,
    commands: mpsc::Receiver<Command>,
    /// Notified when the host or the gateway changed.
    changed: Rc<Notify>,
}

impl Gateway {
    /// `watch` was opened before the gateway was started, so that no change in between is missed.
    pub(super) async fn new(
        running: Running,
        watch: Watch,
        options: Options,
        commands: mpsc::Receiver<Command>,
        changed: Rc<Notify>,
    ) -> Result<Self, Error> {
        Ok(Self { host: Host::new(running, watch).await?, options, commands, changed })
    }

    /// What metrics report of the host.
    pub(super) fn counts(&self) -> Rc<Cell<HostCounts>> {
        self.host.counts()
    }

    /// Does what there is to do until it is told to stop, or something fails that it cannot go on without; then the gateway
    /// is taken down, or left to the next start.
    pub(super) async fn run(mut self) -> Result<(), Error> {
        loop {
            // What is begun is awaited to its end, so that a command meets the gateway between two changes.
            let handled = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(Command::Reload) => {
                        self.reload().await;
                        Ok(())
                    }
                    Some(Command::Stop(at_exit)) => return self.stop(at_exit).await,
                    // Whoever sends commands is gone.
                    None => return self.stop(AtExit::TakeDown).await,
                },
                wake = self.host.wake() => self.handle(wake).await,
            };
            if let Err(error) = handled {
                let stopped = self.stop(AtExit::TakeDown).await;
                stopped.unwrap_or_else(|e| tracing::error!("while cleaning up: {e}"));
                return Err(error);
            }
        }
    }

    async fn handle(&mut self, wake: Result<Wake, Error>) -> Result<(), Error> {
        let wake = wake?;
        let is_change = !matches!(wake, Wake::Tick | Wake::Refresh);
        let handled = self.host.handle(wake).await;
        if is_change {
            self.changed.notify_one();
        }
        handled
    }

    /// Makes the configuration that is written now the running one, or says why not; then the gateway is as it was.
    async fn reload(&mut self) {
        reload::announce_start();
        let running = &mut self.host.running;
        let outcome = match reload::read(&self.options.flags, running).await {
            Ok((config, gateway)) => {
                let outcome = running.reconfigure(gateway).await;
                if outcome.is_ok() {
                    *running.config = config;
                }
                outcome
            }
            Err(e) => Err(e),
        };
        match outcome {
            Ok(false) => tracing::info!("reloaded: the configuration is what it was"),
            Ok(true) => tracing::info!("reloaded: the configuration holds from now on"),
            Err(e) => tracing::error!("not reloaded: {}", causes(&e)),
        }
        reload::announce_end();
        self.changed.notify_one();
    }

    async fn stop(self, at_exit: AtExit) -> Result<(), Error> {
        match at_exit {
            AtExit::Persist => {
                self.host.running.persist();
                Ok(())
            }
            AtExit::TakeDown => self.host.stop().await,
        }
    }
}
