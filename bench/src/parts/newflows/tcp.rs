//! TCP connections by real sockets: how many per second, what they cost the gateway, how long the first byte takes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::cores;
use crate::endpoints::sockets::{Server, connect_and_close, first_bytes};
use crate::endpoints::{Contender, Delays};

const RUN_UP: Duration = Duration::from_millis(30);

/// What a contender did.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Connections opened and closed per second.
    pub per_second: f64,
    /// Time that the gateway's core worked for each of them, in microseconds.
    pub gateway_us: f64,
}

/// Connects and closes for a while. `threads` do the gateway's work.
pub fn connections(
    contender: &Contender<'_>,
    threads: &[i32],
    window: Duration,
    cpu: usize,
) -> Result<Round> {
    let title = contender.lane.kind.title();
    let server = Server::start(contender.lane, cpu)?;
    let (stop, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let round = std::thread::scope(|scope| {
        let client = scope.spawn(|| {
            contender.lane.cli.enter()?;
            cores::pin(0, cpu)?;
            connect_and_close(&stop, &done)
        });
        std::thread::sleep(RUN_UP);
        let read = || {
            Ok::<_, anyhow::Error>((Instant::now(), done.load(Ordering::Relaxed), cores::time_of(threads)?))
        };
        let begin = read();
        std::thread::sleep(window);
        let end = read();
        stop.store(true, Ordering::Relaxed);
        client.join().map_err(|_| anyhow!("the client panicked"))??;
        let (begin, end) = (begin?, end?);
        let count = (end.1 - begin.1) as f64;
        let gateway = end.2.saturating_sub(begin.2).as_secs_f64() * 1e6;
        Ok::<_, anyhow::Error>(Round {
            per_second: count / (end.0 - begin.0).as_secs_f64(),
            gateway_us: gateway / count,
        })
    })?;
    let deadline = Instant::now() + Duration::from_secs(2);
    let done = done.load(Ordering::Relaxed);
    while server.accepted() < done && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let accepted = server.accepted();
    server.finish()?;
    ensure!(accepted == done, "{title}: {done} connections were made, but the server had {accepted}");
    Ok(round)
}

/// Time to the first byte of `count` connections, one after the other.
pub fn first_byte(contender: &Contender<'_>, first: usize, count: usize, cpu: usize) -> Result<Delays> {
    let server = Server::start(contender.lane, cpu)?;
    let delays = contender.lane.cli.run(|| {
        cores::pin(0, cpu)?;
        first_bytes(first, count)
    })?;
    server.finish()?;
    Ok(delays)
}
