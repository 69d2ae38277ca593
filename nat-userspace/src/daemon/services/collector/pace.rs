//! How often the collector passes over the table, and how much of a core it takes.

use std::time::Duration;

use nat_common::Proto;
use nat_common::stats::Stats;

use crate::datapath::inspect::alive;

/// Longest and shortest time from one pass to the next.
const SLOWEST: Duration = Duration::from_secs(20);
const FASTEST: Duration = Duration::from_millis(250);

/// From one pass to the next when something runs short.
const HURRY: Duration = Duration::from_secs(1);

/// Between passes at least, however long the last one took.
pub(super) const REST: Duration = Duration::from_millis(100);

/// Of the CPU time of a pass in a hurry that found next to nothing, how many times that is until the next one.
const WATCHFUL: u32 = 50;

/// A pass that ends fewer than one in this many of the flows it sees was not worth the hurry.
const WORTHWHILE: u64 = 1000;

/// The pace of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// A few per cent of a core, now and then.
    Easy,
    /// The table or an EIP's ports run short, but the last pass found hardly anything to end: as often as 2 % of a core
    /// allow.
    Watchful,
    /// The table or an EIP's ports run short: a quarter of a core.
    Urgent,
}

impl Pace {
    /// From the start of one pass, which computed for `busy`, to the start of the next: no slower than what expires
    /// can matter.
    pub(super) fn interval(self, shortest_timeout: Duration, busy: Duration) -> Duration {
        let half = shortest_timeout / 2;
        let slowest = match self {
            Self::Easy => SLOWEST,
            Self::Watchful => (busy * WATCHFUL).clamp(HURRY, SLOWEST),
            Self::Urgent => HURRY,
        };
        half.clamp(FASTEST, slowest)
    }

    /// How long to leave the core to others after `busy`.
    pub(super) fn pause(self, busy: Duration) -> Duration {
        match self {
            Self::Easy | Self::Watchful => busy * 19,
            Self::Urgent => busy * 3,
        }
    }
}

/// Remembers what it takes to see that something runs short, and whether a hurry helps.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pressure {
    port_errors: Option<u64>,
    is_futile: bool,
}

impl Pressure {
    /// The pace for the next pass over a table for `capacity` flows.
    pub(super) fn assess(&mut self, stats: &Stats, capacity: u32) -> Pace {
        let alive: u64 = Proto::ALL.iter().map(|proto| alive(stats, *proto)).sum();
        let is_full = alive * 5 > u64::from(capacity) * 4;
        let before = self.port_errors.replace(stats.port_allocation_errors);
        let is_short = before.is_some_and(|b| stats.port_allocation_errors > b);
        match is_full || is_short {
            false => Pace::Easy,
            true if self.is_futile => Pace::Watchful,
            true => Pace::Urgent,
        }
    }

    /// A pass at `pace` has ended `ended` of the `flows` that it saw: the pace that sets the time of the next.
    pub(super) fn note(&mut self, pace: Pace, ended: u64, flows: u64) -> Pace {
        self.is_futile = ended * WORTHWHILE < flows;
        match pace {
            Pace::Urgent | Pace::Watchful if self.is_futile => Pace::Watchful,
            Pace::Urgent | Pace::Watchful => Pace::Urgent,
            Pace::Easy => Pace::Easy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable as _;

    #[test]
    fn the_interval_follows_the_shortest_timeout() {
        let busy = Duration::from_millis(1);
        assert_eq!(Pace::Easy.interval(Duration::from_mins(1), busy), SLOWEST);
        assert_eq!(Pace::Easy.interval(Duration::from_secs(2), busy), Duration::from_secs(1));
        assert_eq!(Pace::Easy.interval(Duration::from_millis(100), busy), FASTEST);
        assert_eq!(Pace::Urgent.interval(Duration::from_mins(1), busy), HURRY);
    }

    #[test]
    fn a_hurry_that_does_not_help_costs_little() {
        let interval = |ms| Pace::Watchful.interval(Duration::from_mins(1), Duration::from_millis(ms));
        assert_eq!([1, 100, 10_000].map(interval), [HURRY, Duration::from_secs(5), SLOWEST]);
        assert_eq!(
            Pace::Watchful.interval(Duration::from_millis(100), Duration::from_millis(100)),
            FASTEST,
            "what expires is not late"
        );
        let mut stats = Stats::zeroed();
        stats.births = [1000, 0, 0];
        let mut pressure = Pressure::default();
        assert_eq!(pressure.assess(&stats, 1000), Pace::Urgent, "who knows");
        assert_eq!(pressure.note(Pace::Urgent, 0, 1000), Pace::Watchful);
        assert_eq!(pressure.assess(&stats, 1000), Pace::Watchful);
        assert_eq!(pressure.note(Pace::Watchful, 1, 1000), Pace::Urgent);
        assert_eq!(pressure.assess(&stats, 1000), Pace::Urgent);
        assert_eq!(pressure.note(Pace::Easy, 0, 1000), Pace::Easy);
        stats.deaths = [300, 0, 0];
        assert_eq!(pressure.assess(&stats, 1000), Pace::Easy);
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
