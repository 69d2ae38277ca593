//! Turns: every gateway for a moment, then every gateway again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};

use super::cpus;
use super::gateways::{Gateway, Kind};
use super::objects::{Counter, Objects};
use super::plan::{Plan, Series};

/// Frames per system call: about 30 ms.
const BURST: u32 = 65_536;

/// What one turn of one gateway showed.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// Packets per second that reached the receiver.
    pub delivered: f64,
    /// Packets per second that the generator made.
    pub sent: f64,
    /// Bytes per second in the delivered frames.
    pub bytes: f64,
}

/// All turns of a series.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Which series.
    pub series: Series,
    /// One list per gateway, a turn per round.
    pub rates: Vec<(Kind, Vec<Rate>)>,
}

/// Measures a series.
pub fn series(objects: &mut Objects, gateways: &[Gateway], series: Series, plan: &Plan) -> Result<Outcome> {
    let mut rates: Vec<(Kind, Vec<Rate>)> = gateways.iter().map(|g| (g.kind, Vec::new())).collect();
    for round in 0..plan.rounds {
        for turn in 0..gateways.len() {
            // Another one begins in every round, and the direction changes: nobody always follows the same.
            let place = if round % 2 == 0 { turn } else { gateways.len() - 1 - turn };
            let at = (place + round) % gateways.len();
            objects.aim(gateways[at].target())?;
            rates[at].1.push(turn_of(objects, series, plan)?);
        }
    }
    Ok(Outcome { series, rates })
}

fn turn_of(objects: &Objects, series: Series, plan: &Plan) -> Result<Rate> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let generator = s.spawn(|| -> Result<()> {
            cpus::pin_this_thread(cpus::GENERATOR)?;
            while !stop.load(Ordering::Relaxed) {
                objects.generate(series.size, BURST)?;
            }
            Ok(())
        });
        let measured = (|| {
            std::thread::sleep(plan.warm_up);
            let before = reading(objects)?;
            std::thread::sleep(plan.window);
            let after = reading(objects)?;
            Ok(rate(&before, &after))
        })();
        stop.store(true, Ordering::Relaxed);
        generator.join().unwrap_or_else(|p| std::panic::resume_unwind(p)).context("the generator")?;
        measured
    })
}

struct Reading {
    at: Instant,
    made: u64,
    packets: u64,
    bytes: u64,
}

fn reading(objects: &Objects) -> Result<Reading> {
    let made = objects.made()?;
    let at = Instant::now();
    let count = objects.count(Counter::Delivered)?;
    Ok(Reading { at, made, packets: count.packets, bytes: count.bytes })
}

#[expect(clippy::cast_precision_loss, reason = "packets of less than a second")]
fn rate(before: &Reading, after: &Reading) -> Rate {
    let seconds = (after.at - before.at).as_secs_f64();
    let per_second = |before: u64, after: u64| (after - before) as f64 / seconds;
    Rate {
        delivered: per_second(before.packets, after.packets),
        sent: per_second(before.made, after.made),
        bytes: per_second(before.bytes, after.bytes),
    }
}
