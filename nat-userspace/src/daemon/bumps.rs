//! How often flows are made to resolve their hop again because one neighbour changed: at once, and then rarely, however
//! often the kernel reports it. Somebody who lets two stations fight over an address makes it report thousands.

use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

/// Between two bumps of one neighbour.
pub(super) const PAUSE: Duration = Duration::from_millis(50);

/// Neighbours that are remembered; when more change within a pause, all hops are resolved again at once.
const ROOM: usize = 4096;

/// Interface and address.
pub(super) type Key = (u32, Ipv4Addr);

/// What to do about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bump {
    /// Bump the neighbour's slots.
    Now,
    /// [`Bumps::due`] will tell.
    Later,
    /// Bump all slots, soon.
    All,
}

/// The neighbours that were bumped within the last pause.
#[derive(Default)]
pub(super) struct Bumps {
    /// `true`: it changed again since.
    recent: HashMap<Key, bool>,
    /// When each may be bumped again, the earliest first.
    until: VecDeque<(Instant, Key)>,
}

impl Bumps {
    /// A neighbour changed.
    pub(super) fn change(&mut self, key: Key, now: Instant) -> Bump {
        if let Some(again) = self.recent.get_mut(&key) {
            *again = true;
            return Bump::Later;
        }
        if self.recent.len() >= ROOM {
            return Bump::All;
        }
        self.recent.insert(key, false);
        self.until.push_back((now + PAUSE, key));
        Bump::Now
    }

    /// When [`Self::due`] is to be asked.
    pub(super) fn next(&self) -> Option<Instant> {
        self.until.front().map(|(at, _)| *at)
    }

    /// Neighbours that changed again during their pause, which is over.
    pub(super) fn due(&mut self, now: Instant) -> Vec<Key> {
        let mut due = Vec::new();
        while let Some((_, key)) = self.until.pop_front_if(|(at, _)| *at <= now) {
            if self.recent.remove(&key) == Some(true) {
                due.push(key);
            }
        }
        for key in &due {
            self.recent.insert(*key, false);
            self.until.push_back((now + PAUSE, *key));
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = (3, Ipv4Addr::new(10, 0, 0, 9));

    #[test]
    fn at_once_and_then_twenty_times_a_second() {
        let start = Instant::now();
        let mut bumps = Bumps::default();
        let mut count = 0;
        for ms in 0..1000 {
            let now = start + Duration::from_millis(ms);
            for _ in 0..5 {
                count += usize::from(bumps.change(KEY, now) == Bump::Now);
            }
            assert!(ms > 0 || count == 1, "the first is followed at once");
            count += bumps.due(now).len();
        }
        assert!((19..=21).contains(&count), "{count}");
        // The last change is not lost.
        assert_eq!(bumps.due(start + Duration::from_secs(1)), [KEY]);
        assert!(bumps.due(start + Duration::from_secs(2)).is_empty());
        assert_eq!(bumps.next(), None, "nothing is remembered for long");
        assert_eq!(bumps.change(KEY, start + Duration::from_secs(3)), Bump::Now);
    }

    #[test]
    fn too_many_at_once_are_all() {
        let now = Instant::now();
        let mut bumps = Bumps::default();
        let all: Vec<_> = (0..5000u32).map(|n| bumps.change((1, n.into()), now)).collect();
        assert_eq!(all.iter().filter(|b| **b == Bump::Now).count(), ROOM);
        assert_eq!(all[ROOM..].iter().filter(|b| **b == Bump::All).count(), 5000 - ROOM);
        bumps.due(now + PAUSE);
        assert_eq!(bumps.change(KEY, now + PAUSE), Bump::Now);
    }
}
