//! Something that goes on for a while, and is to be told of once.

use std::time::Duration;

use tokio::time::Instant;

/// How long it must be quiet for the next to be another one.
const QUIET: Duration = Duration::from_mins(1);

/// Since when, and whether it still goes on.
#[derive(Debug, Default)]
pub(crate) struct Episode {
    last: Option<Instant>,
}

impl Episode {
    /// It happens now; whether that is the beginning.
    pub(crate) fn begins(&mut self, now: Instant) -> bool {
        let before = self.last.replace(now);
        before.is_none_or(|last| now >= last + QUIET)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn told_of_once_until_it_has_been_quiet() {
        let start = Instant::now();
        let mut episode = Episode::default();
        assert!(episode.begins(start));
        assert!((1..200u32).all(|n| !episode.begins(start + QUIET / 2 * n)));
        assert!(episode.begins(start + QUIET * 200));
    }
}
