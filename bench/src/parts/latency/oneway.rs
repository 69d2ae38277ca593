//! From the sender's clock to the receiver's: the same clock, read in the kernel at both ends of the gateway.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::endpoints::{Contender, Delays, Frames, Pace, Traffic};

/// What packets get before the clock starts.
const RUN_UP: Duration = Duration::from_millis(30);

/// Packets in a burst under load.
pub const BURST: u32 = 8;

/// What is sent.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Packets per second.
    pub per_second: f64,
    /// Packets in a burst.
    pub burst: u32,
    /// Flows that they belong to, in turn.
    pub flows: u64,
}

impl Load {
    /// One packet every 20 us.
    pub const IDLE: Self = Self { per_second: 50_000.0, burst: 1, flows: 1 };

    /// Packets in bursts.
    pub const fn of(per_second: f64, flows: u64) -> Self {
        Self { per_second, burst: BURST, flows }
    }

    /// As the sender wants it.
    pub const fn traffic(self, cpu: usize) -> Traffic {
        let pace = Pace::Steady(self.per_second, self.burst);
        Traffic { pace, first: 0, flows: self.flows, is_timed: true, cpu }
    }
}

/// How long packets took.
#[derive(Clone, Debug)]
pub struct OneWay {
    /// Of each packet that arrived.
    pub delays: Delays,
    /// Packets sent per second.
    pub sent: f64,
    /// Share of them that did not arrive.
    pub lost: f64,
}

/// Sends a load through a gateway for a while, and meanwhile does something.
pub fn measure(
    frames: &mut Frames,
    contender: &mut Contender<'_>,
    load: Load,
    cpu: usize,
    during: impl FnOnce(&mut Contender<'_>) -> Result<()>,
) -> Result<OneWay> {
    let lane = contender.lane;
    frames.expect(lane, false)?;
    let traffic = load.traffic(cpu);
    let outcome = frames.while_sending(lane, &traffic, |frames| {
        std::thread::sleep(RUN_UP);
        let begin = std::time::Instant::now();
        let (received, sent, delays) = (frames.received()?, frames.sent(&traffic)?, frames.delays()?);
        during(contender)?;
        let now = frames.received()?;
        let (arrived, sent) = ((now.0 - received.0) as f64, (frames.sent(&traffic)? - sent) as f64);
        ensure!(now.1 == received.1, "{}: packets arrived that were not translated", lane.kind.title());
        ensure!(arrived > 0.0, "{}: no packet arrived", lane.kind.title());
        Ok(OneWay {
            delays: frames.delays()?.since(&delays),
            sent: sent / begin.elapsed().as_secs_f64(),
            lost: (1.0 - arrived / sent).max(0.0),
        })
    })?;
    frames.settle()?;
    Ok(outcome)
}
