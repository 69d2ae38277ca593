//! Removals against everything else: the bound is never short, the count is exact.

use loom::sync::Arc;
use nat_common::table::insert::Inserted;
use nat_common::table::remove::remove;

use crate::explore::{Depth, World, assert_has, explore, insert_patiently, translate};
use crate::memory::{Rules, key};
use crate::word::Word32;

/// A key is inserted while the farthest one of its home is removed.
pub fn insertion(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(2, 2, rules);
        let other = world.start(|cpu| assert!(remove(cpu, key(2))));
        let own = world.own();
        assert_eq!(insert_patiently(own, 3, 3), Inserted::Done);
        assert_eq!(translate(own, 3), Some([3, 3]), "a removal hides nobody");
        other.join().unwrap();
        assert_has(own, &[1, 3]);
    });
}

#[test]
fn an_insertion_and_the_removal_of_the_farthest() {
    insertion(Depth::Preemptions(2), Rules::default());
}

#[test]
#[ignore = "deep"]
fn deep_an_insertion_and_the_removal_of_the_farthest() {
    insertion(Depth::Preemptions(4), Rules::default());
}

/// A key is inserted while the same key is removed: it exists still, or it is inserted. It is there once or not at all.
pub fn same_key(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(2, 2, rules);
        let other = world.start(|cpu| assert!(remove(cpu, key(2))));
        let inserted = insert_patiently(world.own(), 2, 2);
        other.join().unwrap();
        match inserted {
            Inserted::Done => assert_has(world.own(), &[1, 2]),
            Inserted::Exists => assert_has(world.own(), &[1]),
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn an_insertion_and_the_removal_of_one_key() {
    same_key(Depth::Preemptions(3), Rules::default());
}

/// Two keys of one home are removed at once, the farthest among them.
pub fn two(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(3, 2, rules);
        let other = world.start(|cpu| assert!(remove(cpu, key(3))));
        let own = world.own();
        assert!(remove(own, key(2)));
        assert_eq!(translate(own, 1), Some([1, 1]));
        other.join().unwrap();
        assert_has(own, &[1]);
    });
}

#[test]
fn two_removals() {
    two(Depth::All, Rules::default());
}

/// Who knows that an entry is live finds it, whatever else happens at its home.
pub fn known(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(2, 3, rules);
        let is_live = Arc::new(Word32::new(0, 3));
        let told = is_live.clone();
        let inserter = world.start(move |cpu| {
            assert_eq!(insert_patiently(cpu, 3, 3), Inserted::Done);
            told.store(cpu.number, 1, loom::sync::atomic::Ordering::Release);
        });
        let remover = world.start(|cpu| assert!(remove(cpu, key(2))));
        let own = world.own();
        if is_live.load(0, loom::sync::atomic::Ordering::Acquire) != 0 {
            assert_eq!(translate(own, 3), Some([3, 3]), "a live entry is not found");
        }
        inserter.join().unwrap();
        remover.join().unwrap();
        assert_has(own, &[1, 3]);
    });
}

#[test]
fn a_live_entry_is_found() {
    known(Depth::Preemptions(1), Rules::default());
}

#[test]
#[ignore = "deep"]
fn deep_a_live_entry_is_found() {
    known(Depth::Preemptions(3), Rules::default());
}

/// One CPU searches for a key and is stopped; the other frees the farthest slot and takes it for the same key. The bound is
/// then as far as before. Only its version tells the first CPU that it has searched in vain.
pub fn version(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(2, 2, rules);
        let other = world.start(|cpu| {
            assert!(remove(cpu, key(2)));
            insert_patiently(cpu, 3, 3)
        });
        let own = insert_patiently(world.own(), 3, 3);
        // All slots in reach may be taken while the loser looks, because the winner tries one after the other.
        let results = [own, other.join().unwrap()];
        assert_eq!(
            results.iter().filter(|r| **r == Inserted::Done).count(),
            1,
            "not one that succeeds: {results:?}"
        );
        assert_has(world.own(), &[1, 3]);
    });
}

#[test]
fn a_bound_that_goes_and_comes_back() {
    version(Depth::Preemptions(2), Rules::default());
}

/// A key is removed by two CPUs at once, which `bury` prevents: it leaves once, and nobody else does.
pub fn twice(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(2, 2, rules);
        let other = world.start(|cpu| remove(cpu, key(2)));
        let own = remove(world.own(), key(2));
        assert_ne!(own, other.join().unwrap(), "removed once");
        assert_has(world.own(), &[1]);
    });
}

#[test]
fn a_key_is_removed_once() {
    twice(Depth::Preemptions(3), Rules::default());
}
