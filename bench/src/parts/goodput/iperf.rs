//! iperf3, run at both ends of a lane.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nat_tests::lab::netns::check;
use serde_json::Value;

use crate::endpoints::{Lane, server_of};

/// `iperf3 -s` until dropped.
#[derive(Debug)]
pub struct Server(Child);

impl Server {
    /// Starts it at a lane's server end, and waits until it listens.
    pub fn start(lane: &Lane, cpu: usize) -> Result<Self> {
        let mut command = lane.srv.command("iperf3");
        command.args(["-s", "-A", &cpu.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        let server = Self(command.spawn().context("start `iperf3` (Debian package iperf3)")?);
        let deadline = Instant::now() + Duration::from_secs(3);
        while lane.srv.output("ss", &["-Hltn", "sport = :5201"])?.is_empty() {
            ensure!(Instant::now() < deadline, "iperf3 -s does not listen");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Which way the data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    Out,
    /// From the server to the client.
    In,
}

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Parallel connections.
    pub streams: u32,
    /// Which way.
    pub direction: Direction,
    /// Megabytes, in all connections together.
    pub megabytes: u32,
}

/// Goodput of a transfer, in Gbit/s as the receiver counts.
pub fn measure(lane: &Lane, transfer: Transfer, cpu: usize) -> Result<f64> {
    let server = server_of(0).to_string();
    let (streams, bytes) = (transfer.streams.to_string(), format!("{}M", transfer.megabytes));
    let mut command = lane.cli.command("iperf3");
    command.args(["-c", &server, "-P", &streams, "-n", &bytes, "-J", "-A", &cpu.to_string()]);
    if transfer.direction == Direction::In {
        command.arg("-R");
    }
    let text = check("iperf3", &mut command).with_context(|| format!("through {}", lane.kind.title()))?;
    let report: Value = serde_json::from_str(&text).context("iperf3 -J printed no JSON")?;
    if let Some(error) = report["error"].as_str() {
        bail!("iperf3 through {}: {error}", lane.kind.title());
    }
    let received = &report["end"]["sum_received"]["bits_per_second"];
    Ok(received.as_f64().context("iperf3 -J has no end.sum_received.bits_per_second")? / 1e9)
}
