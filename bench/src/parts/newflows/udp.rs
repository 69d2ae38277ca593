//! Flows of one UDP packet: every packet is a new flow.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::endpoints::{Contender, Frames, Pace, Traffic};

/// Offered packets per second. More than any contender takes, but no more than needed: a sender that goes as fast as it
/// can (17 Mpps into a full ring) slows the gateway at the other end of the ring down by a third.
const OFFERED: f64 = 4e6;

/// What packets get before the clock starts.
const RUN_UP: Duration = Duration::from_millis(30);
/// From an empty table on: a longer window is one with a fuller table.
const WINDOW: Duration = Duration::from_millis(250);

/// What a contender did.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Flows whose packet was delivered, per second.
    pub delivered: f64,
    /// Share of the packets sent that were lost.
    pub lost: f64,
}

/// Measures one contender once, from an empty table. Packets are numbered from `first`, so that no two rounds share a
/// flow.
pub fn measure(frames: &mut Frames, contender: &Contender<'_>, first: u64, cpu: usize) -> Result<Round> {
    let title = contender.lane.kind.title();
    contender.forget()?;
    frames.expect(contender.lane, false)?;
    let before = frames.received()?;
    let pace = Pace::Steady(OFFERED, 64);
    let traffic = Traffic { pace, first, flows: u64::MAX, is_timed: false, cpu };
    let round = frames.while_sending(contender.lane, &traffic, |frames| {
        std::thread::sleep(RUN_UP);
        let (begin, received, sent) = (Instant::now(), frames.received()?.0, frames.sent(&traffic)?);
        std::thread::sleep(WINDOW);
        let (took, received) = (begin.elapsed(), frames.received()?.0 - received);
        let sent = frames.sent(&traffic)? - sent;
        let delivered = received as f64 / took.as_secs_f64();
        Ok(Round { delivered, lost: 1.0 - received as f64 / sent as f64 })
    })?;
    frames.settle()?;
    let after = frames.received()?;
    let (good, bad) = (after.0 - before.0, after.1 - before.1);
    ensure!(good > 0, "{title}: no packet arrived");
    ensure!(bad == 0, "{title}: {bad} packets arrived with a source that they must not have");
    if let Some(flows) = contender.flows()? {
        // Each packet was a flow of its own, and was delivered, or lost behind the gateway.
        ensure!(
            flows >= good && (flows - good) as f64 <= 0.01 * good as f64,
            "{title}: {good} packets were delivered, but it holds {flows} flows"
        );
    }
    Ok(round)
}
