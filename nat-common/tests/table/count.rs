//! The count of entries: never more than the table takes, and nobody is refused who fits.

use nat_common::table::insert::{Inserted, insert};
use nat_common::table::memory::Table as _;
use nat_common::table::remove::remove;

use crate::explore::{Depth, World, explore};
use crate::memory::{Cpu, Rules, Value, key};

/// Inserts a flow's first half, which counts for both.
fn claim(cpu: Cpu<'_>, n: u64) -> Inserted {
    for _ in 0..3 {
        match insert(cpu, key(n), &Value::new(n), 2) {
            Inserted::Disturbed => {}
            result => return result,
        }
    }
    Inserted::Disturbed
}

/// Two flows want the last room.
pub fn last_room(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::new(2, 3, 2, rules);
        let other = world.start(|cpu| claim(cpu, 2));
        let own = claim(world.own(), 3);
        let results = [own, other.join().unwrap()];
        assert!(
            results == [Inserted::Done, Inserted::Full] || results == [Inserted::Full, Inserted::Done],
            "the last room is not given once: {results:?}"
        );
        assert_eq!(world.own().taken(), 2);
    });
}

#[test]
fn the_last_room_is_given_once() {
    last_room(Depth::Preemptions(4), Rules::default());
}

/// Two flows want the last room while an entry leaves and another comes for which there is room whoever of the two got it.
pub fn nobody_in_vain(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::new(3, 3, 3, rules);
        assert_eq!(insert(world.own(), key(3), &Value::new(3), 1), Inserted::Done);
        let threads = [world.start(|cpu| claim(cpu, 1)), world.start(|cpu| claim(cpu, 2))];
        let own = world.own();
        assert!(remove(own, key(3)));
        assert_eq!(insert(own, key(6), &Value::new(6), 1), Inserted::Done, "refused though there is room");
        let done = threads.map(|t| t.join().unwrap()).iter().filter(|r| **r == Inserted::Done).count();
        assert!(done <= 1, "more than the table takes");
        assert_eq!(own.taken() as usize, 1 + 2 * done);
    });
}

#[test]
fn nobody_is_refused_in_vain() {
    nobody_in_vain(Depth::Preemptions(2), Rules::default());
}
