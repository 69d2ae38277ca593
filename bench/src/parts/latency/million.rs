//! natgw with a full table: what its daemon does meanwhile, and what packets notice of it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;

use super::contenders::{ROUND, maximum, nap};
use super::lines::Line;
use super::oneway::{self, Load};
use crate::context::Context;
use crate::cores;
use crate::endpoints::{Contender, Frames};

/// What happens while packets are timed.
#[derive(Debug)]
pub struct Lines {
    /// Flows in the table.
    pub flows: u64,
    /// The daemon is stopped: nobody collects.
    pub stopped: Line,
    /// The collector goes over the table, on another core than the packets.
    pub collector: Line,
    /// The collector shares the packets' core.
    pub shared: Line,
    /// The configuration is read again and again. Without rounds where natgw cannot.
    pub reload: Line,
    /// The daemon ends, and another takes over its data plane.
    pub restart: Line,
    /// Share of a core that the daemon took while the collector was at work, for each round.
    pub daemon: Vec<f64>,
}

/// Measures.
pub fn measure(
    context: &Context,
    frames: &mut Frames,
    natgw: &mut Contender<'_>,
    flows: u64,
    (ends, gateway): (usize, usize),
) -> Result<Lines> {
    fill(frames, natgw, flows, ends)?;
    let load = Load::of(maximum(frames, natgw, flows, ends)? / 2.0, flows);
    let window = ROUND;
    let line = |what: &str| Line::new(what.to_owned());
    let mut lines = Lines {
        flows,
        stopped: line("daemon stopped"),
        collector: line("collector at work, on the other core"),
        shared: line("collector at work, on the gateway's core"),
        reload: line("configuration reloaded all the time"),
        restart: line("daemon restarted, data plane adopted"),
        daemon: Vec::new(),
    };
    for _ in 0..context.pick(2, 15) {
        let pid = natgw.natgw()?.pid();
        natgw.natgw()?.signal(Signal::SIGSTOP)?;
        let stopped = oneway::measure(frames, natgw, load, ends, nap(window));
        natgw.natgw()?.signal(Signal::SIGCONT)?;
        lines.stopped.add_oneway(stopped?);

        cores::pin_process(pid, ends)?;
        let (begin, before) = (Instant::now(), cores::time_of_process(pid)?);
        lines.collector.add_oneway(oneway::measure(frames, natgw, load, ends, nap(window))?);
        let took = cores::time_of_process(pid)?.saturating_sub(before);
        lines.daemon.push(took.as_secs_f64() / begin.elapsed().as_secs_f64());

        cores::pin_process(pid, gateway)?;
        lines.shared.add_oneway(oneway::measure(frames, natgw, load, ends, nap(window))?);
        cores::pin_process(pid, ends)?;
    }
    ensure!(
        lines.daemon.iter().sum::<f64>() / lines.daemon.len() as f64 > 0.001,
        "the collector did not work while it should have been measured: {:?} of a core",
        lines.daemon
    );
    if can_reload(natgw)? {
        for _ in 0..context.pick(1, 5) {
            let round = oneway::measure(frames, natgw, load, ends, |natgw| {
                let begin = Instant::now();
                while begin.elapsed() < window {
                    reload(natgw)?;
                    std::thread::sleep(Duration::from_millis(20));
                }
                Ok(())
            })?;
            lines.reload.add_oneway(round);
        }
    }
    for _ in 0..context.pick(1, 3) {
        let round = oneway::measure(frames, natgw, load, ends, |natgw| {
            natgw.natgw.as_mut().context("no natgw")?.stop()?;
            natgw.start_natgw()
        })?;
        lines.restart.add_oneway(round);
    }
    let left = natgw.flows()?.unwrap_or_default();
    ensure!(left >= flows, "of {flows} flows, {left} are left: the restarts lost some");
    Ok(lines)
}

/// Makes the flows.
fn fill(frames: &mut Frames, natgw: &mut Contender<'_>, flows: u64, cpu: usize) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut per_second = 500_000.0;
    while natgw.flows()?.unwrap_or_default() < flows {
        ensure!(Instant::now() < deadline, "cannot make {flows} flows");
        frames.send(natgw.lane, &Load::of(per_second, flows).traffic(cpu), u32::try_from(flows)?)?;
        // What is left to do now is what got lost.
        per_second = 1_500_000.0;
    }
    Ok(())
}

/// Whether this natgw has a verb that reads its configuration again.
fn can_reload(natgw: &Contender<'_>) -> Result<bool> {
    Ok(natgw.natgw()?.verb(&["reload"])?.status.success())
}

fn reload(natgw: &Contender<'_>) -> Result<()> {
    natgw.natgw()?.say(&["reload"]).map(drop)
}
