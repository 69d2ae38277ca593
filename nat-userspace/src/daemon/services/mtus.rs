//! When to read the MTUs of routes again: soon after a change, and never for more than a small part of the time.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::host::Error;
use crate::host::mtus::{self, RouteMtus};

/// Between two readings at least.
const PAUSE: Duration = Duration::from_millis(200);

/// Reading takes one part in so many of the time at most: 5 %. A table of a million routes takes seconds.
const PARTS: u32 = 20;

/// After a reading that failed.
const RETRY: Duration = Duration::from_secs(3);

/// Reads the MTUs of routes when they may have changed.
pub(crate) struct Mtus {
    stale: bool,
    not_before: Instant,
    reading: Option<Reading>,
    failed: bool,
}

struct Reading {
    since: Instant,
    result: Pin<Box<dyn Future<Output = Result<RouteMtus, Error>>>>,
}

impl Mtus {
    /// They were read just now.
    pub(crate) fn new() -> Self {
        Self { stale: false, not_before: Instant::now() + PAUSE, reading: None, failed: false }
    }

    /// Something happened that may have changed them. While they are read: they are read once more.
    pub(crate) fn stale(&mut self) {
        self.stale = true;
    }

    /// Waits until they were read again. Dropping the future loses nothing: the next call goes on.
    pub(crate) async fn read(&mut self) -> RouteMtus {
        loop {
            if self.reading.is_none() {
                if !self.stale {
                    pending::<()>().await;
                }
                sleep_until(self.not_before).await;
                self.stale = false;
            }
            let reading = self
                .reading
                .get_or_insert_with(|| Reading { since: Instant::now(), result: Box::pin(mtus::read()) });
            let result = reading.result.as_mut().await;
            let took = reading.since.elapsed();
            self.reading = None;
            match result {
                Ok(found) => {
                    self.not_before = Instant::now() + pause(took);
                    self.failed = false;
                    return found;
                }
                Err(e) => {
                    if !std::mem::replace(&mut self.failed, true) {
                        tracing::warn!("the MTUs of routes stay what they were, natgw goes on trying: {e}");
                    }
                    self.not_before = Instant::now() + pause(took).max(RETRY);
                    self.stale = true;
                }
            }
        }
    }
}

/// After a reading that took so long.
fn pause(took: Duration) -> Duration {
    (took * (PARTS - 1)).max(PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_table_is_read_less_often() {
        assert_eq!(pause(Duration::from_millis(1)), Duration::from_millis(200));
        let long = Duration::from_secs(2);
        assert!(long * 20 <= long + pause(long), "5 % of the time");
    }

    #[tokio::test]
    async fn readings_are_apart_and_none_is_missed() {
        let mut mtus = Mtus::new();
        let start = Instant::now();
        let idle = tokio::time::timeout(Duration::from_millis(1), mtus.read()).await;
        assert!(idle.is_err(), "nothing changed");
        for n in 1..=3 {
            mtus.stale();
            mtus.stale();
            // As when something else wakes the daemon up meanwhile.
            while tokio::time::timeout(Duration::from_micros(500), mtus.read()).await.is_err() {
                assert!(start.elapsed() < Duration::from_secs(20), "reading {n}");
            }
            assert!(start.elapsed() >= PAUSE * n, "reading {n} after {:?}", start.elapsed());
        }
        assert!(!mtus.stale && mtus.reading.is_none());
    }
}
