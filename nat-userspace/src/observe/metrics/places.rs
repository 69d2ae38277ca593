//! Who may stay connected when more come than there are places for: a client that asks is answered, however many others
//! hold a connection and say nothing.

use std::cell::Cell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// One that is being answered for longer than this does not take its answer in, and may be turned out, too.
const ANSWER: Duration = Duration::from_secs(1);

/// What a new one has to ask in, however many others come: a scraper's request follows its connection at once.
const GRACE: Duration = Duration::from_millis(50);

/// Names a connection for as long as the endpoint lives.
pub(super) type Place = u64;

/// All connections, the oldest first.
pub(super) struct Places {
    room: usize,
    next: Place,
    taken: Vec<Taken>,
}

struct Taken {
    place: Place,
    from: IpAddr,
    shared: Rc<Shared>,
}

struct Shared {
    since: Instant,
    /// When the request was complete.
    asked: Cell<Option<Instant>>,
    out: Notify,
}

/// A connection's own view of its place.
pub(super) struct Visit {
    place: Place,
    shared: Rc<Shared>,
}

impl Places {
    pub(super) fn new(room: usize) -> Self {
        Self { room, next: 0, taken: Vec::with_capacity(room) }
    }

    /// When there is a place for another connection: now, or a moment later when all are new or being answered. Until
    /// then it waits in the kernel's queue.
    pub(super) fn opens(&self, now: Instant) -> Instant {
        if self.taken.len() < self.room {
            return now;
        }
        self.taken.iter().map(|t| t.shared.yields()).min().unwrap_or(now).max(now)
    }

    /// A place for a new connection, once [`Self::opens`]. When all are taken, one that has not asked yet is turned out:
    /// the oldest of the address that has most of these, so that a client with one connection is not turned out for
    /// another's hundreds.
    pub(super) fn take(&mut self, from: IpAddr, now: Instant) -> Visit {
        if self.taken.len() >= self.room
            && let Some(victim) = self.victim(now)
        {
            self.taken.remove(victim).shared.out.notify_one();
        }
        let shared = Rc::new(Shared { since: now, asked: Cell::new(None), out: Notify::new() });
        let place = self.next;
        self.next += 1;
        self.taken.push(Taken { place, from, shared: Rc::clone(&shared) });
        Visit { place, shared }
    }

    /// A connection has ended. One that was turned out has no place any more.
    pub(super) fn leave(&mut self, place: Place) {
        self.taken.retain(|t| t.place != place);
    }

    fn victim(&self, now: Instant) -> Option<usize> {
        let yields = |t: &Taken| t.shared.yields() <= now;
        let silent = |t: &Taken| t.shared.asked.get().is_none() && yields(t);
        self.oldest_of_most(silent).or_else(|| self.oldest_of_most(yields))
    }

    fn oldest_of_most(&self, is: impl Fn(&Taken) -> bool) -> Option<usize> {
        let mut by_address: HashMap<IpAddr, usize> = HashMap::new();
        for taken in self.taken.iter().filter(|t| is(t)) {
            *by_address.entry(taken.from).or_default() += 1;
        }
        let most = by_address.values().max()?;
        self.taken.iter().position(|t| is(t) && by_address.get(&t.from) == Some(most))
    }
}

impl Shared {
    /// When another may have the place.
    fn yields(&self) -> Instant {
        self.asked.get().map_or(self.since + GRACE, |asked| asked + ANSWER)
    }
}

impl Visit {
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// The request is complete.
    pub(super) fn has_asked(&self) {
        self.shared.asked.set(Some(Instant::now()));
    }

    /// Waits until another connection gets this one's place.
    pub(super) async fn turned_out(&self) {
        self.shared.out.notified().await;
    }

    /// Waits until the time to ask is over; for ever when it was used.
    pub(super) async fn overdue(&self, limit: Duration) {
        sleep(limit).await;
        if self.shared.asked.get().is_some() {
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn the_silent_make_room_the_oldest_of_the_most_numerous_first() {
        let now = Instant::now();
        let mut places = Places::new(4);
        let lone = places.take(at(1), now);
        let crowd: Vec<_> = (0..3).map(|_| places.take(at(2), now)).collect();
        crowd[0].has_asked();
        assert_eq!(places.opens(now), now + GRACE);
        let later = now + GRACE;
        assert_eq!(places.opens(later), later);
        let next = places.take(at(3), later);
        let there: Vec<_> = places.taken.iter().map(|t| t.place).collect();
        assert_eq!(there, [lone.place, crowd[0].place, crowd[2].place, next.place]);
    }

    #[test]
    fn who_is_answered_stays_unless_the_answer_is_not_taken() {
        let now = Instant::now();
        let mut places = Places::new(2);
        let visits = [places.take(at(1), now), places.take(at(2), now)];
        visits.iter().for_each(Visit::has_asked);
        assert!(places.opens(now) >= now + ANSWER);
        places.take(at(3), now + ANSWER * 2);
        assert_eq!(places.taken.len(), 2);
        places.leave(visits[0].place);
        assert_eq!(places.taken.len(), 2, "it had been turned out already");
    }
}
