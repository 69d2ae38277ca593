//! The highest 10-second average in a minute, as AWS's `PeakBytesPerSecond` and
//! `PeakPacketsPerSecond`.

use std::time::Duration;

/// How often [`Peak::sample`] wants to be called.
pub const WINDOW: Duration = Duration::from_secs(10);

/// Windows in the minute.
const WINDOWS: u32 = 6;

/// A rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rate {
    /// Bytes per second.
    pub bytes: f64,
    /// Packets per second.
    pub packets: f64,
}

impl Rate {
    fn max(self, other: Self) -> Self {
        Self { bytes: self.bytes.max(other.bytes), packets: self.packets.max(other.packets) }
    }
}

/// Turns counters that only grow into the peak of the last whole minute.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peak {
    last: Option<(Duration, u64, u64)>,
    windows: u32,
    highest: Rate,
    minute: Option<Rate>,
}

impl Peak {
    /// The counters at `at` on any monotonic clock. Call it every [`WINDOW`]; late calls average over longer.
    pub fn sample(&mut self, at: Duration, bytes: u64, packets: u64) {
        let Some((then, bytes_then, packets_then)) = self.last.replace((at, bytes, packets)) else { return };
        let seconds = at.saturating_sub(then).as_secs_f64();
        if seconds <= 0.0 {
            return;
        }
        // Counters shrink only when another data plane took over: nothing is known about that window.
        let rate = Rate {
            bytes: per_second(bytes.saturating_sub(bytes_then), seconds),
            packets: per_second(packets.saturating_sub(packets_then), seconds),
        };
        self.highest = self.highest.max(rate);
        self.windows += 1;
        if self.windows == WINDOWS {
            self.minute = Some(self.highest);
            (self.windows, self.highest) = (0, Rate::default());
        }
    }

    /// Of the last whole minute; of what there is before the first one is over.
    pub fn rate(&self) -> Rate {
        self.minute.unwrap_or(self.highest)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a rate for a graph; 53 bits are plenty")]
fn per_second(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds one sample every 10 s whose window has the given rate in bytes per second; packets are a tenth.
    fn fed(rates: &[u64]) -> Peak {
        let (mut peak, mut bytes) = (Peak::default(), 0);
        peak.sample(Duration::ZERO, 0, 0);
        for (n, rate) in (1..).zip(rates) {
            bytes += rate * 10;
            peak.sample(WINDOW * n, bytes, bytes / 10);
        }
        peak
    }

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-6
    }

    #[test]
    fn nothing_is_known_at_first() {
        assert_eq!(fed(&[]).rate(), Rate::default());
    }

    #[test]
    fn the_highest_window_of_the_minute_counts() {
        let rate = fed(&[100, 900, 300, 200, 100, 0]).rate();
        assert!(near(rate.bytes, 900.0) && near(rate.packets, 90.0), "{rate:?}");
    }

    #[test]
    fn a_minute_stands_until_the_next_is_over() {
        let first = [100, 900, 300, 200, 100, 0];
        assert!(near(fed(&[&first[..], &[5000; 5]].concat()).rate().bytes, 900.0));
        assert!(near(fed(&[&first[..], &[5000; 6]].concat()).rate().bytes, 5000.0));
        assert!(near(fed(&[&first[..], &[0; 6]].concat()).rate().bytes, 0.0));
    }

    #[test]
    fn counters_that_start_over_make_no_peak() {
        let mut peak = fed(&[100]);
        peak.sample(WINDOW * 2, 0, 0);
        assert!(near(peak.rate().bytes, 100.0));
    }
}
