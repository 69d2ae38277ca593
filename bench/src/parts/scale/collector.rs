//! What the collector takes of a core.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Gateway;

/// From one pass to the next, when nothing runs short and no timeout is shorter than 40 s.
const INTERVAL: Duration = Duration::from_secs(20);

/// How long to wait for a pass.
const PATIENCE: Duration = Duration::from_secs(90);

/// What was seen of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Of a core, from 0 to 1: all that the daemon does, system calls included.
    pub share: f64,
    /// The last pass, without its pauses.
    pub busy: Duration,
    /// The last pass, with its pauses.
    pub pass: Duration,
    /// How fast it went by then.
    pub pace: String,
}

/// How long to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// From the start of one pass to the start of the next, or longer.
    Interval,
    /// Until the end of a pass; the daemon is taken to do nothing for the rest of the interval.
    Pass,
}

/// Watches a daemon that has just been started, and so begins its first pass.
pub fn watch(gateway: &Gateway<'_>, window: Window) -> Result<Seen> {
    let started = Instant::now();
    let before = cpu(gateway.pid())?;
    while last_pass(gateway).is_none() {
        ensure!(started.elapsed() < PATIENCE, "no pass in {PATIENCE:?}:\n{}", gateway.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    if window == Window::Interval {
        std::thread::sleep(INTERVAL.saturating_sub(started.elapsed()));
    }
    let computed = cpu(gateway.pid())?.saturating_sub(before);
    let line = last_pass(gateway).unwrap_or_default();
    let time = |key| value(&line, key).and_then(duration).with_context(|| format!("no {key} in: {line}"));
    Ok(Seen {
        share: computed.as_secs_f64() / started.elapsed().max(INTERVAL).as_secs_f64(),
        busy: time("busy: ")?,
        pass: time("took=")?,
        pace: value(&line, "pace=").unwrap_or_default().to_owned(),
    })
}

/// What the daemon logged, at level debug, after its last pass.
fn last_pass(gateway: &Gateway<'_>) -> Option<String> {
    gateway.log().lines().rfind(|line| line.contains(" collected ")).map(str::to_owned)
}

/// What all threads of a process have computed, user and system.
fn cpu(pid: u32) -> Result<Duration> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = std::fs::read_to_string(task?.path().join("schedstat"))?;
        sum += text.split(' ').next().and_then(|n| n.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(sum))
}

/// The word after `key`.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    Some(line.split_once(key)?.1.split(' ').next()?.trim_end_matches(','))
}

/// As `Duration`'s `Debug` prints one.
fn duration(text: &str) -> Option<Duration> {
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds = match &text[number.len()..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        "ns" => 1e-9,
        _ => return None,
    };
    Some(Duration::from_secs_f64(number.parse::<f64>().ok()? * seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_is_read() {
        let line = "DEBUG collected tally=Tally { flows: 1, busy: 1.5ms, more: 2 } took=12.5s pace=Easy";
        assert_eq!(value(line, "took=").and_then(duration), Some(Duration::from_millis(12_500)));
        assert_eq!((value(line, "busy: "), value(line, "pace=")), (Some("1.5ms"), Some("Easy")));
        for (text, seconds) in [("1.5ms", 1.5e-3), ("20µs", 2e-5), ("7ns", 7e-9)] {
            assert_eq!(duration(text), Some(Duration::from_secs_f64(seconds)));
        }
        assert_eq!(duration("soon"), None);
    }
}
