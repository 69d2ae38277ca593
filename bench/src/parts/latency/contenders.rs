//! Every contender, idle and at work: one way by frames, there and back by sockets.

use std::time::Duration;

use anyhow::Result;

use super::lines::Line;
use super::oneway::{self, Load};
use super::pingpong;
use crate::context::{Context, Effort};
use crate::endpoints::{Contender, Frames, Kind};

/// Flows of the load: few enough to be in the caches, as every contender likes it.
const FLOWS: u64 = 1000;

/// How long a round lasts. Short, so that what the machine and its host do once or twice a second, for milliseconds,
/// falls into few of them and leaves the median alone.
pub const ROUND: Duration = Duration::from_millis(150);

/// Rows of both tables.
#[derive(Debug)]
pub struct Lines {
    /// One way.
    pub oneway: Vec<Line>,
    /// There and back.
    pub round_trips: Vec<Line>,
}

/// Most packets per second that a contender delivers. Offered too much, every gateway delivers less.
pub fn maximum(frames: &mut Frames, contender: &mut Contender<'_>, flows: u64, cpu: usize) -> Result<f64> {
    let mut most = 0.0_f64;
    for offered in [1e6, 2e6, 4e6] {
        let load = Load { per_second: offered, burst: 64, flows };
        let round = oneway::measure(frames, contender, load, cpu, nap(Duration::from_millis(80)))?;
        most = most.max(round.sent * (1.0 - round.lost));
        if round.lost > 0.1 {
            break;
        }
    }
    Ok(most)
}

/// Does nothing for a while.
pub fn nap(window: Duration) -> impl FnOnce(&mut Contender<'_>) -> Result<()> {
    move |_| {
        std::thread::sleep(window);
        Ok(())
    }
}

/// Measures all of them in turn.
pub fn measure(
    context: &Context,
    frames: &mut Frames,
    contenders: &mut [Contender<'_>],
    cpu: usize,
) -> Result<Lines> {
    let mut halves = Vec::new();
    for contender in &mut *contenders {
        halves.push((contender.lane.kind, maximum(frames, contender, FLOWS, cpu)? / 2.0));
    }
    let mut groups: Vec<Group> =
        contenders.iter().map(|c| Group::new(context.effort, c.lane.kind, &halves)).collect();
    for _ in 0..context.pick(1, 13) {
        for (contender, group) in contenders.iter_mut().zip(&mut groups) {
            for (line, load) in &mut group.oneway {
                line.add_oneway(oneway::measure(frames, contender, *load, cpu, nap(ROUND))?);
            }
            group.idle.add_round_trips(pingpong::measure(contender, ROUND, cpu)?, 0.0);
            let mut trips = None;
            let load = oneway::measure(frames, contender, group.load, cpu, |contender| {
                trips = Some(pingpong::measure(contender, ROUND, cpu)?);
                Ok(())
            })?;
            if let Some(trips) = trips {
                group.loaded.add_round_trips(trips, load.sent);
            }
        }
    }
    let mut lines = Lines { oneway: Vec::new(), round_trips: Vec::new() };
    for group in groups {
        lines.oneway.extend(group.oneway.into_iter().map(|(line, _)| line));
        lines.round_trips.extend([group.idle, group.loaded]);
    }
    Ok(lines)
}

/// What a row without load is called.
pub fn idle(kind: Kind) -> String {
    format!("{}, idle", kind.title())
}

/// What a row is called whose load is half of what `whose` delivers at most.
pub fn half(kind: Kind, whose: Kind) -> String {
    let whose = if kind == whose { "its" } else { whose.possessive() };
    format!("{}, half of {whose} maximum", kind.title())
}

/// Rows of one contender.
struct Group {
    oneway: Vec<(Line, Load)>,
    idle: Line,
    loaded: Line,
    load: Load,
}

impl Group {
    fn new(effort: Effort, kind: Kind, halves: &[(Kind, f64)]) -> Self {
        let mut oneway = vec![(Line::new(idle(kind)), Load::IDLE)];
        let mut load = Load::IDLE;
        for (whose, per_second) in halves {
            let at_half = Load::of(*per_second, FLOWS);
            if *whose == kind {
                load = at_half;
            }
            // Its own half; nft's, which all can take; and natgw's, which shows who cannot.
            let is_shown =
                *whose == kind || *whose == Kind::Nft || (*whose == Kind::Natgw && effort == Effort::Full);
            if is_shown {
                oneway.push((Line::new(half(kind, *whose)), at_half));
            }
        }
        Self { oneway, idle: Line::new(idle(kind)), loaded: Line::new(half(kind, kind)), load }
    }
}
