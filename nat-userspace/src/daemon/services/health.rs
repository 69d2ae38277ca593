//! The self-test: whether packets can get through, before natgw says that it is ready, whenever the host changes, and every
//! few seconds. What is wrong is logged when it begins and when it is over, and told to whoever asks over HTTP.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};

use crate::datapath::Error as DatapathError;
use crate::datapath::inspect::Inspect;
use crate::datapath::pins::Pins;
use crate::host::condition::Condition;
use crate::host::state::StateDir;
use crate::model::fault::{Code, Fault, Severity};
use crate::observe::faults::FlowsSeen;
use crate::observe::status::{Since, addresses, flows, look};

/// Between two looks when nothing changes.
const PAUSE: Duration = Duration::from_secs(3);

/// Between two looks however much changes.
const SETTLE: Duration = Duration::from_millis(300);

/// Between two looks at the flow table, all of which is read when it holds few flows.
const FLOWS_PAUSE: Duration = Duration::from_secs(6);

/// Looks that must not show a fault before it is over: one that comes and goes is one.
const OVER: u32 = 3;

/// What the last look found.
pub(crate) type Found = Rc<Vec<Fault>>;

/// Looks, and tells.
pub(crate) struct Health {
    pins: Pins,
    state_dir: PathBuf,
    inspect: Inspect,
    since: Since,
    last: Instant,
    flows: (Option<Instant>, FlowsSeen),
    /// Faults that were logged, and for how many looks they have been gone.
    told: BTreeMap<&'static str, u32>,
    is_ready: bool,
    found: watch::Sender<Found>,
    changed: Rc<Notify>,
}

impl Health {
    /// `changed` is notified when the host changed.
    pub(crate) fn new(pins: &Pins, state_dir: &Path, changed: Rc<Notify>) -> Result<Self, DatapathError> {
        let inspect = Inspect::open(pins)?;
        let since = Since { first: inspect.stats()?, sample: Duration::ZERO };
        Ok(Self {
            pins: pins.clone(),
            state_dir: state_dir.to_owned(),
            inspect,
            since,
            last: Instant::now(),
            flows: (None, FlowsSeen::default()),
            told: BTreeMap::new(),
            is_ready: false,
            found: watch::Sender::new(Rc::default()),
            changed,
        })
    }

    /// What looks find.
    pub(crate) fn found(&self) -> watch::Receiver<Found> {
        self.found.subscribe()
    }

    /// The first look, after which systemd is told that natgw has started: also when packets cannot get through yet, because
    /// a link is down, say. natgw then waits for that, which is no failed start, and says `ready` when it is over.
    pub(crate) async fn start(&mut self) {
        self.look().await;
        if !self.is_ready {
            for fault in self.found.borrow().iter().filter(|f| f.severity == Severity::Critical) {
                tracing::error!(code = fault.code.name(), "up, but no packet gets through yet: {fault}");
            }
        }
        // An error only says that there is no systemd.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    }

    /// Looks again and again.
    pub(crate) async fn run(mut self) -> std::convert::Infallible {
        loop {
            let changed = Rc::clone(&self.changed);
            tokio::select! {
                () = sleep_until(self.last + PAUSE) => {}
                () = changed.notified() => sleep_until(self.last + SETTLE).await,
            }
            self.look().await;
        }
    }

    async fn look(&mut self) {
        match self.faults().await {
            Ok(faults) => self.tell(faults),
            // Nothing is known to be well yet.
            Err(e) if !self.is_ready => {
                let text = format!("natgw cannot look whether packets get through: {e:#}");
                self.tell(vec![Fault::new(
                    Code::TablesDamaged,
                    text,
                    "it tries again; if that stays, restart natgw",
                )]);
            }
            // The next look may tell more; meanwhile what was found before holds.
            Err(e) => tracing::debug!("cannot look whether packets get through: {e:#}"),
        }
    }

    async fn faults(&mut self) -> anyhow::Result<Vec<Fault>> {
        let now = Instant::now();
        self.since.sample = now.duration_since(self.last);
        self.last = now;
        let first = self.inspect.stats()?;
        let host = Condition::read(&addresses(&self.inspect)?).await?;
        if self.flows.0.is_none_or(|at| now >= at + FLOWS_PAUSE) {
            self.flows = (Some(now), flows(&self.inspect)?);
        }
        let state = StateDir::recorded(&self.state_dir)?;
        let status = look(&self.pins, state.as_ref(), &self.inspect, &self.since, Some(&host), self.flows.1)?;
        self.since.first = first;
        Ok(status.faults)
    }

    fn tell(&mut self, faults: Vec<Fault>) {
        for gone in self.told.values_mut() {
            *gone += 1;
        }
        for fault in &faults {
            if self.told.insert(fault.code.name(), 0).is_none() {
                let code = fault.code.name();
                match fault.severity {
                    Severity::Warning => tracing::warn!(code, "{fault}"),
                    Severity::Error | Severity::Critical => tracing::error!(code, "{fault}"),
                }
            }
        }
        self.told.retain(|code, gone| {
            let stays = *gone < OVER;
            if !stays {
                tracing::info!(code, "over");
            }
            stays
        });
        let is_ready = is_ready(&faults);
        if is_ready && !self.is_ready {
            tracing::info!("ready: packets are being translated");
        }
        if is_ready != self.is_ready {
            let text = if is_ready { "packets are being translated" } else { "no packet gets through" };
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Status(text)]);
        }
        self.is_ready = is_ready;
        self.found.send_replace(Rc::new(faults));
    }
}

/// Whether packets get through.
pub(crate) fn is_ready(faults: &[Fault]) -> bool {
    faults.iter().all(|f| f.severity < Severity::Critical)
}
