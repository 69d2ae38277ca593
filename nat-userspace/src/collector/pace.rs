//! How often the collector passes over the table, and how much of a core it takes.

use std::time::Duration;

use nat_common::stats::Stats;

/// Longest and shortest time from one pass to the next.
const SLOWEST: Duration = Duration::from_secs(20);
const FASTEST: Duration = Duration::from_millis(250);

/// Between passes at least, however long the last one took.
pub(super) const REST: Duration = Duration::from_millis(100);

/// The pace of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// A few per cent of a core.
    Easy,
    /// The table or an EIP's ports run short: a quarter of a core.
    Urgent,
}

impl Pace {
    /// From the start of one pass to the start of the next: no slower than what expires can matter.
    pub(super) fn interval(self, shortest_timeout_ms: u32) -> Duration {
        let half = Duration::from_millis(u64::from(shortest_timeout_ms / 2));
        let slowest = match self {
            Self::Easy => SLOWEST,
            Self::Urgent => Duration::from_secs(1),
        };
        half.clamp(FASTEST, slowest)
    }

    /// How long to leave the core to others after `busy`.
    pub(super) fn pause(self, busy: Duration) -> Duration {
        match self {
            Self::Easy => busy * 19,
            Self::Urgent => busy * 3,
        }
    }
}

/// Remembers what it takes to see that something runs short.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    port_errors: Option<u64>,
}

impl Pressure {
    /// The pace for the next pass over a table for `capacity` flows.
    pub(super) fn assess(&mut self, stats: &Stats, capacity: u32) -> Pace {
        let sum = |counters: [u64; 3]| counters.iter().sum::<u64>();
        let alive = sum(stats.births).saturating_sub(sum(stats.deaths));
        let is_full = alive * 5 > u64::from(capacity) * 4;
        let before = self.port_errors.replace(stats.port_allocation_errors);
        let is_short = before.is_some_and(|b| stats.port_allocation_errors > b);
        if is_full || is_short { Pace::Urgent } else { Pace::Easy }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    #[test]
    fn the_interval_follows_the_shortest_timeout() {
        assert_eq!(Pace::Easy.interval(60_000), SLOWEST);
        assert_eq!(Pace::Easy.interval(2_000), Duration::from_secs(1));
        assert_eq!(Pace::Easy.interval(100), FASTEST);
        assert_eq!(Pace::Urgent.interval(60_000), Duration::from_secs(1));
    }

    #[test]
    fn a_full_table_and_missing_ports_are_urgent() {
        let mut stats = Stats::zeroed();
        let mut pressure = Pressure::default();
        stats.port_allocation_errors = 7;
        stats.births = [700, 100, 0];
        assert_eq!(pressure.assess(&stats, 1000), Pace::Easy, "errors of an earlier daemon's time");
        stats.births[2] = 1;
        assert_eq!(pressure.assess(&stats, 1000), Pace::Urgent, "801 of 1,000");
        stats.deaths = [700, 0, 0];
        assert_eq!(pressure.assess(&stats, 1000), Pace::Easy);
        stats.port_allocation_errors = 8;
        assert_eq!(pressure.assess(&stats, 1000), Pace::Urgent);
    }
}
