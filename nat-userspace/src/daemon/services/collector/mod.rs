//! Finds flows that are past their deadline and has the reaper end them; counts ports while it is there.
//!
//! Its pace changes memory, not behaviour: to the packet path a flow is dead at its deadline.

mod heavy;
mod pace;

use std::collections::{HashSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use nat_common::reap::{REAP_BATCH, ReapAction, ReapRecord, ReapResult, is_candidate};
use nat_common::stamp::DELETE_AFTER;
use nat_common::timeouts::IdleLimits;
use nat_common::{FlowEntry, Proto, Stamp, Ticks, Tuple};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::datapath::Error;
use crate::datapath::inspect::{self, Inspect};
use crate::datapath::pins::Pins;
use crate::datapath::reap::{self, Reaper};
use crate::observe::metrics::DestinationUsage;
use crate::observe::ports::PortUsage;
use heavy::Heavy;
use pace::{Pace, Pressure};

/// After condemning; a little more than the reaper insists on, so that it is asked once.
const ASK_AFTER: Duration = Duration::from_millis(DELETE_AFTER.ms() + 50);

/// Flows that are deleted without a pause.
const DELETIONS: usize = 4096;

/// Destinations that are reported.
const TOP: usize = 10;

/// What the last complete pass saw.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Flows and distinct ports by EIP.
    pub ports: PortUsage,
    /// Destinations that use most of an EIP's ports, most first.
    pub destinations: Vec<DestinationUsage>,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    entries: u64,
    flows: u64,
    condemned: u64,
    /// Without the pauses.
    busy: Duration,
}

/// Runs passes until it is dropped.
pub struct Collector {
    inspect: Inspect,
    reaper: Reaper,
    /// In the order in which they may be deleted.
    condemned: VecDeque<(Instant, Tuple)>,
    listed: HashSet<Tuple>,
    usage: watch::Sender<Rc<Usage>>,
    pressure: Pressure,
}

impl Collector {
    /// A collector for what is pinned.
    pub fn new(pins: &Pins) -> Result<Self, Error> {
        Ok(Self {
            inspect: Inspect::open(pins)?,
            reaper: Reaper::open(pins)?,
            condemned: VecDeque::new(),
            listed: HashSet::new(),
            usage: watch::Sender::new(Rc::default()),
            pressure: Pressure::default(),
        })
    }

    /// Where each complete pass leaves what it counted.
    pub fn usage(&self) -> watch::Receiver<Rc<Usage>> {
        self.usage.subscribe()
    }

    /// Collects until dropped, or until the maps cannot be read.
    pub async fn run(mut self) -> Result<std::convert::Infallible, Error> {
        let mut next_pass = Instant::now();
        loop {
            let next_delete = self.condemned.front().map(|(at, _)| *at);
            let wake = next_delete.map_or(next_pass, |d| d.min(next_pass));
            tokio::time::sleep_until(wake).await;
            self.delete_due().await?;
            if Instant::now() >= next_pass {
                let started = Instant::now();
                let limits = self.inspect.settings()?.timeouts;
                let pace = self.pressure.assess(&self.inspect.stats()?, self.inspect.capacity());
                let tally = self.pass(&limits, pace).await?;
                tracing::debug!(?tally, took = ?started.elapsed(), ?pace, "collected");
                let pace = self.pressure.note(pace, tally.condemned, tally.flows);
                let next = started + pace.interval(shortest(&limits), tally.busy);
                // A pass over a large table at an easy pace takes a while: no pile-up.
                next_pass = next.max(Instant::now() + pace::REST);
            }
        }
    }

    async fn pass(&mut self, limits: &IdleLimits, pace: Pace) -> Result<Tally, Error> {
        let mut usage = PortUsage::default();
        let mut heavy = Heavy::default();
        let mut tally = Tally::default();
        let mut found = Vec::new();
        let eips = self.inspect.eips()?;
        let known: HashSet<u32> = eips.iter().map(|(addr, _)| addr.be).collect();
        for window in self.inspect.table().windows() {
            let busy = Instant::now();
            let now = inspect::now();
            for entry in window?.entries() {
                let (key, entry) = (&entry.tuple(), &entry);
                tally.entries += 1;
                if let Some(proto) = Proto::from_number(key.proto).filter(|_| entry.is_outbound()) {
                    tally.flows += 1;
                    usage.add(entry.new_src.into(), proto, entry.new_sport.host());
                    heavy.add((entry.new_src, proto, entry.new_dst, entry.new_dport));
                }
                // A flow must not outlive its EIP, which may be somebody else's by now.
                if entry.is_outbound() && !known.contains(&entry.new_src.be) {
                    found.push(reap::record(*key, ReapAction::CondemnForced));
                } else if needs_reaper(&self.inspect, limits, key, entry, now)? && !self.listed.contains(key)
                {
                    found.push(reap::record(*key, ReapAction::Condemn));
                }
            }
            tally.condemned += condemn(&self.reaper, &mut found, &mut self.condemned, &mut self.listed)?;
            let busy = busy.elapsed();
            tally.busy += busy;
            tokio::time::sleep(pace.pause(busy)).await;
        }
        let ports = |addr| eips.iter().find(|(a, _)| *a == addr).map_or(0, |(_, e)| e.ports.count);
        let destinations = heavy.top(TOP, ports);
        self.usage.send_replace(Rc::new(Usage { ports: usage, destinations }));
        Ok(tally)
    }

    async fn delete_due(&mut self) -> Result<(), Error> {
        loop {
            let busy = Instant::now();
            let ripe = self.condemned.iter().take(DELETIONS).take_while(|(at, _)| *at <= busy).count();
            if ripe == 0 {
                return Ok(());
            }
            let mut records: Vec<ReapRecord> =
                self.condemned.drain(..ripe).map(|(_, key)| reap::record(key, ReapAction::Delete)).collect();
            for record in &records {
                self.listed.remove(&record.key);
            }
            // One that was taken back, or condemned anew by somebody else, is the next pass's to find.
            self.reaper.run(&mut records)?;
            tokio::time::sleep(Pace::Urgent.pause(busy.elapsed())).await;
        }
    }
}

/// Whether a flow may be over. One half names the flow: the initiator's, or the other one that has lost it.
fn needs_reaper(
    inspect: &Inspect,
    limits: &IdleLimits,
    key: &Tuple,
    entry: &FlowEntry,
    now: Stamp,
) -> Result<bool, Error> {
    let age = entry.last.age(now);
    if entry.is_initiators() {
        return Ok(is_candidate(limits, key, entry, age));
    }
    // A birth inserts the inbound half first, so only an old one can be an orphan; or a dead one, of a birth that was
    // undone. Where that had lost to another CPU, the outbound half that it would have is another inbound half's.
    let settled = DELETE_AFTER.plus(DELETE_AFTER);
    let longest = limits.all().into_iter().fold(settled, Ticks::max);
    let is_old = age >= longest || entry.last.is_dead() && age >= settled;
    if !is_old {
        return Ok(false);
    }
    let pair_key = entry.pair_key(key);
    let pair = inspect.table().entry(&pair_key)?;
    Ok(pair.is_none_or(|pair| pair.pair_key(&pair_key) != *key))
}

/// How soon anything may be over.
fn shortest(limits: &IdleLimits) -> Duration {
    Duration::from_millis(limits.all().into_iter().fold(limits.fresh, Ticks::min).ms())
}

/// Condemns what was `found`; returns how many flows are now to be deleted.
fn condemn(
    reaper: &Reaper,
    found: &mut Vec<ReapRecord>,
    condemned: &mut VecDeque<(Instant, Tuple)>,
    listed: &mut HashSet<Tuple>,
) -> Result<u64, Error> {
    let before = condemned.len();
    for records in found.chunks_mut(REAP_BATCH) {
        reaper.run(records)?;
        let at = Instant::now() + ASK_AFTER;
        for record in records.iter().filter(|r| reap::result(r) == ReapResult::Condemned) {
            if listed.insert(record.key) {
                condemned.push_back((at, record.key));
            }
        }
    }
    found.clear();
    Ok((condemned.len() - before) as u64)
}
