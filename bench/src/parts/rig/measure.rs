//! Turns: every gateway for a moment, then every gateway again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::cpus::{self, Times};
use super::devices::Devices;
use super::gateways::{Ends, Gateway, Kind};
use super::objects::{Counter, Objects};
use super::plan::{Plan, Series};
use crate::cores;
use crate::report::section::Sample;

/// Frames per system call: a few milliseconds.
const BURST: u32 = 65_536;

/// What one turn of one gateway showed.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Packets per second that reached the receiver.
    pub delivered: f64,
    /// Packets per second that the generator made.
    pub sent: f64,
}

/// All turns of one gateway.
#[derive(Clone, Debug)]
pub struct Turns {
    /// Which gateway.
    pub kind: Kind,
    /// A turn per round.
    pub rates: Vec<Rate>,
    /// Packets made in all turns, before and after the windows too.
    pub made: u64,
    /// Packets of those that reached the receiver.
    pub delivered: u64,
    /// What its devices counted meanwhile.
    pub devices: Devices,
}

/// All turns of a series.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which series.
    pub series: Series,
    /// By gateway.
    pub turns: Vec<Turns>,
    /// What else the machine did.
    pub times: Times,
    /// How long it took.
    pub took: Duration,
}

impl Outcome {
    /// The turns of a gateway, if it took part.
    pub fn of(&self, kind: Kind) -> Option<&Turns> {
        self.turns.iter().find(|t| t.kind == kind)
    }

    /// Packets per second that a gateway delivered, median.
    pub fn median(&self, kind: Kind) -> Option<f64> {
        Some(Sample::of(&self.of(kind)?.rates.iter().map(|r| r.delivered).collect::<Vec<_>>()).median)
    }

    /// What one gateway delivered by what another did, round by round. Empty unless both took part.
    pub fn ratios(&self, kind: Kind, by: Kind) -> Vec<f64> {
        let (Some(one), Some(other)) = (self.of(kind), self.of(by)) else { return Vec::new() };
        one.rates.iter().zip(&other.rates).map(|(a, b)| a.delivered / b.delivered).collect()
    }
}

/// Measures a series.
pub fn series(
    objects: &mut Objects,
    ends: &Ends,
    gateways: &[Gateway<'_>],
    series: Series,
    plan: &Plan,
) -> Result<Outcome> {
    let (begin, times) = (Instant::now(), Times::read());
    let mut turns = Vec::new();
    for g in gateways {
        let devices = Devices::read(ends, g)?;
        turns.push(Turns { kind: g.kind, rates: Vec::new(), made: 0, delivered: 0, devices });
    }
    // Each gateway goes on in the list where it was interrupted: a turn does not see all of a million flows.
    let mut places = vec![0; gateways.len()];
    for round in 0..series.rounds {
        for turn in 0..gateways.len() {
            // Another one begins in every round, and every other round runs backwards: nobody always follows the
            // same.
            let turn = if round % 2 == 0 { turn } else { gateways.len() - 1 - turn };
            let at = (turn + round) % gateways.len();
            let before = objects.count(Counter::Delivered)?;
            objects.aim(gateways[at].target(), places[at])?;
            turns[at].rates.push(turn_of(objects, series, plan)?);
            std::thread::sleep(Duration::from_millis(2));
            let progress = objects.progress()?;
            places[at] = progress.place;
            turns[at].made += progress.made;
            turns[at].delivered += objects.count(Counter::Delivered)? - before;
        }
    }
    for (turns, gateway) in turns.iter_mut().zip(gateways) {
        turns.devices = Devices::read(ends, gateway)?.since(turns.devices);
        turns.devices.confirm(turns.delivered).with_context(|| format!("`{}`", turns.kind.id()))?;
    }
    Ok(Outcome { series, turns, times: Times::read().since(times), took: begin.elapsed() })
}

/// One turn: the generator on its CPU, and a thread on the other one that looks at the clock and the counters.
fn turn_of(objects: &Objects, series: Series, plan: &Plan) -> Result<Rate> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let generator = s.spawn(|| -> Result<()> {
            cores::pin(0, cpus::GENERATOR)?;
            while !stop.load(Ordering::Relaxed) {
                objects.generate(series.size, BURST)?;
            }
            Ok(())
        });
        let observer = s.spawn(|| -> Result<Rate> {
            cores::pin(0, cpus::other())?;
            std::thread::sleep(plan.warm_up);
            let before = reading(objects)?;
            std::thread::sleep(plan.window);
            Ok(rate(&before, &reading(objects)?))
        });
        let observed = observer.join().unwrap_or_else(|p| std::panic::resume_unwind(p));
        stop.store(true, Ordering::Relaxed);
        generator.join().unwrap_or_else(|p| std::panic::resume_unwind(p)).context("the generator")?;
        observed
    })
}

struct Reading {
    at: Instant,
    made: u64,
    delivered: u64,
}

fn reading(objects: &Objects) -> Result<Reading> {
    let made = objects.progress()?.made;
    let at = Instant::now();
    Ok(Reading { at, made, delivered: objects.count(Counter::Delivered)? })
}

#[expect(clippy::cast_precision_loss, reason = "packets of less than a second")]
fn rate(before: &Reading, after: &Reading) -> Rate {
    let seconds = (after.at - before.at).as_secs_f64();
    Rate {
        delivered: (after.delivered - before.delivered) as f64 / seconds,
        sent: (after.made - before.made) as f64 / seconds,
    }
}
