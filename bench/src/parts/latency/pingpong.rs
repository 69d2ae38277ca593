//! Round trips of a UDP flow between two real sockets.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::cores;
use crate::endpoints::{Contender, Delays, client_of, server_of};

const PORT: u16 = 7001;

/// An answer that takes longer is lost.
const PATIENCE: Duration = Duration::from_millis(20);

/// Answers before the clock starts.
const WARM: usize = 10;

/// Round trips.
#[derive(Clone, Debug, Default)]
pub struct RoundTrips {
    /// Of each question that was answered.
    pub delays: Delays,
    /// Questions without an answer.
    pub lost: u64,
}

/// Asks and answers, one question at a time, for a while. Both ends are on the given core.
pub fn measure(contender: &Contender<'_>, window: Duration, cpu: usize) -> Result<RoundTrips> {
    let server = contender.lane.srv.run(|| UdpSocket::bind((server_of(0), PORT)))?;
    let client = contender.lane.cli.run(|| UdpSocket::bind((client_of(0), 0)))?;
    client.connect((server_of(0), PORT))?;
    for socket in [&server, &client] {
        socket.set_read_timeout(Some(PATIENCE))?;
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let answers = scope.spawn(|| -> Result<()> {
            cores::pin(0, cpu)?;
            let mut data = [0; 64];
            while !stop.load(Ordering::Relaxed) {
                let Ok((length, from)) = server.recv_from(&mut data) else { continue };
                ensure!(
                    contender.lane.kind.may_be_source(from),
                    "{}: a question came from {from}",
                    contender.lane.kind.title()
                );
                server.send_to(&data[..length], from).context("answer")?;
            }
            Ok(())
        });
        let questions = scope.spawn(|| -> Result<RoundTrips> {
            cores::pin(0, cpu)?;
            ask(&client, window)
        });
        let round_trips = questions.join().map_err(|_| anyhow!("the client panicked"))?;
        stop.store(true, Ordering::Relaxed);
        answers.join().map_err(|_| anyhow!("the server panicked"))??;
        round_trips
    })
}

fn ask(client: &UdpSocket, window: Duration) -> Result<RoundTrips> {
    let mut round_trips = RoundTrips::default();
    let mut number = 0u64;
    let mut next = || {
        number += 1;
        once(client, number)
    };
    // The first ones meet a new flow and a cold cache.
    let warm = (0..100).filter_map(|_| next().transpose()).take(WARM).collect::<Result<Vec<_>>>()?;
    ensure!(warm.len() == WARM, "no answers: {} of 100 questions had one", warm.len());
    let start = Instant::now();
    while start.elapsed() < window {
        match next()? {
            Some(delay) => round_trips.delays.add(delay.as_nanos() as u64),
            None => round_trips.lost += 1,
        }
    }
    Ok(round_trips)
}

/// One question: how long the answer took, if there was one.
fn once(client: &UdpSocket, number: u64) -> Result<Option<Duration>> {
    let begin = Instant::now();
    client.send(&number.to_ne_bytes()).context("ask")?;
    let mut answer = [0; 8];
    // A late answer to an earlier question does not count.
    while client.recv(&mut answer).is_ok() {
        if u64::from_ne_bytes(answer) == number {
            return Ok(Some(begin.elapsed()));
        }
    }
    Ok(None)
}
