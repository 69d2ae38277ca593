//! How long a person or a scraper waits.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::{Gateway, Lab};

use super::stand::METRICS;
use crate::report::section::Sample;

/// A question to the gateway.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// What it is called in the table.
    pub name: &'static str,
    /// Arguments of `natgw`; none: a scrape of `/metrics`.
    pub args: &'static [&'static str],
    /// The longest that it may take, in milliseconds.
    pub target: Option<f64>,
    /// A word by which findings call it.
    pub id: &'static str,
}

/// What is asked, in this order.
pub const QUESTIONS: [Question; 9] = [
    ask("natgw stats", &["stats"], Some(20.0), "stats"),
    ask("natgw stats --json", &["stats", "--json"], Some(20.0), "stats_json"),
    ask("natgw flows --limit 20", &["flows", "--limit", "20"], Some(100.0), "limit"),
    ask("natgw flows --count", &["flows", "--count"], None, "count"),
    ask(
        "natgw flows --src (1 in 64)",
        &["flows", "--json", "--src", "10.9.0.1/32", "--limit", "20"],
        None,
        "filter",
    ),
    ask("natgw flows --sort bytes --limit 20", &["flows", "--sort", "bytes", "--limit", "20"], None, "sort"),
    ask("natgw status", &["status"], None, "status"),
    ask("natgw eip list", &["eip", "list"], None, "eip"),
    ask("GET /metrics", &[], None, "metrics"),
];

const fn ask(
    name: &'static str,
    args: &'static [&'static str],
    target: Option<f64>,
    id: &'static str,
) -> Question {
    Question { name, args, target, id }
}

impl Question {
    /// Asks `times` times; milliseconds from the start of the process, or of the connection, to the last byte.
    pub fn time(&self, lab: &Lab, gateway: &Gateway<'_>, times: usize) -> Result<Sample> {
        let mut took = Vec::new();
        for _ in 0..times {
            let one = if self.args.is_empty() { lab.gw().run(scrape)? } else { run(gateway, self.args)? };
            took.push(one.as_secs_f64() * 1e3);
        }
        Ok(Sample::of(&took))
    }
}

fn run(gateway: &Gateway<'_>, args: &[&str]) -> Result<Duration> {
    let started = Instant::now();
    let out = gateway.verb(args)?;
    let took = started.elapsed();
    ensure!(out.status.success(), "natgw {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    Ok(took)
}

fn scrape() -> Result<Duration> {
    let started = Instant::now();
    let mut stream = TcpStream::connect(METRICS).context("connect to /metrics")?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: natgw\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    ensure!(answer.contains("\nnatgw_up 1\n"), "no metrics: {answer}");
    Ok(started.elapsed())
}
