//! Insertions against insertions and against finds: no duplicate key, no lost entry.

use nat_common::table::ProbeBound;
use nat_common::table::insert::Inserted;

use crate::explore::{Depth, World, assert_has, explore, find, insert, insert_patiently, translate};
use crate::memory::{Cpu, Rules, Value, key};

/// Against one other CPU an insertion's attempts always suffice. Two others can disturb each of them, with attempts of their own
/// that they give up.
fn may_give_up(result: Inserted, others: u64) -> bool {
    others > 1 && result == Inserted::Disturbed
}

/// CPUs insert one key: one succeeds, the others are told, and the table has the key once.
pub fn one_key(depth: Depth, rules: Rules, others: u64) {
    explore(depth, move || {
        let mut world = World::new(1, 8, others as usize + 1, rules);
        let threads: Vec<_> = (1..=others).map(|_| world.start(|cpu| insert_patiently(cpu, 7, 7))).collect();
        let mut results = vec![insert_patiently(world.own(), 7, 7)];
        results.extend(threads.into_iter().map(|t| t.join().unwrap()));
        let done = results.iter().filter(|r| **r == Inserted::Done).count();
        let told = results.iter().filter(|r| **r == Inserted::Exists || may_give_up(**r, others)).count();
        assert_eq!((done, told), (1, others as usize), "not one that succeeds: {results:?}");
        assert_has(world.own(), &[7]);
    });
}

#[test]
fn two_insertions_of_one_key() {
    one_key(Depth::Preemptions(2), Rules::default(), 1);
}

#[test]
#[ignore = "deep"]
fn deep_two_insertions_of_one_key() {
    one_key(Depth::Preemptions(4), Rules::default(), 1);
}

#[test]
#[ignore = "deep"]
fn deep_three_insertions_of_one_key() {
    one_key(Depth::Preemptions(2), Rules::default(), 2);
}

/// CPUs insert different keys of one home: each finds its own at once, and all are there in the end.
pub fn one_home(depth: Depth, rules: Rules, others: u64) {
    fn work(cpu: Cpu<'_>, n: u64, others: u64) -> Inserted {
        let result = insert_patiently(cpu, n, n);
        if result == Inserted::Done {
            assert_eq!(translate(cpu, n), Some([n, n]), "an entry is found once it is live");
        } else {
            assert!(may_give_up(result, others), "key {n}: {result:?}");
        }
        result
    }
    explore(depth, move || {
        let mut world = World::new(1, 8, others as usize + 1, rules);
        let threads: Vec<_> =
            (1..=others).map(|n| (n, world.start(move |cpu| work(cpu, n, others)))).collect();
        let own = work(world.own(), 9, others);
        let mut results: Vec<_> = threads.into_iter().map(|(n, t)| (n, t.join().unwrap())).collect();
        results.push((9, own));
        let there: Vec<_> = results.iter().filter(|(_, r)| *r == Inserted::Done).map(|(n, _)| *n).collect();
        assert!(!there.is_empty(), "one always gets on: {results:?}");
        assert_has(world.own(), &there);
    });
}

#[test]
fn two_keys_of_one_home() {
    one_home(Depth::Preemptions(2), Rules::default(), 1);
}

#[test]
#[ignore = "deep"]
fn deep_two_keys_of_one_home() {
    one_home(Depth::Preemptions(3), Rules::default(), 1);
}

#[test]
#[ignore = "deep"]
fn deep_three_keys_of_one_home() {
    one_home(Depth::Preemptions(2), Rules::default(), 2);
}

/// Keys of two homes that lie side by side, of which each wants the slot that the other wants.
pub fn two_homes(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::new(2, 8, 2, rules);
        assert_eq!(insert(world.own(), 1, 1), Inserted::Done);
        assert_eq!(insert(world.own(), 2, 2), Inserted::Done);
        let other = world.start(|cpu| insert_patiently(cpu, 3, 3));
        let own = insert_patiently(world.own(), 4, 4);
        assert_eq!(other.join().unwrap(), Inserted::Done);
        // When the other one got the slot that both wanted, nothing else is in reach of this one.
        assert_has(world.own(), if own == Inserted::Crowded { &[1, 2, 3] } else { &[1, 2, 3, 4] });
    });
}

#[test]
fn two_keys_of_two_homes() {
    two_homes(Depth::Preemptions(2), Rules::default());
}

/// A packet looks for a key while it is inserted: it finds nothing, or all of the entry. The entry's flags are there with it.
pub fn reader(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(1, 2, rules);
        let other = world.start(|cpu| {
            let value = Value { flags: 0x155, ..Value::new(2) };
            nat_common::table::insert::insert(cpu, key(2), &value, 1)
        });
        let own = world.own();
        let found = find(own, 2).map(|entry| (entry.value(), entry.seen() & 0xffff));
        assert!(
            found.is_none_or(|f| f == ([2, 2], 0x155)),
            "an entry is read before it is written: {found:x?}"
        );
        assert_eq!(translate(own, 1), Some([1, 1]), "an insertion hides nobody");
        assert_eq!(other.join().unwrap(), Inserted::Done);
    });
}

#[test]
fn an_insertion_and_a_reader() {
    reader(Depth::All, Rules::default());
}

/// An entry at its home shares a word with the bound: its flags are there, and the bound is what it was.
#[test]
fn an_entry_at_home_brings_its_flags() {
    explore(Depth::All, || {
        let world = World::new(1, 8, 1, Rules::default());
        let value = Value { flags: 0x155, ..Value::new(1) };
        assert_eq!(nat_common::table::insert::insert(world.own(), key(1), &value, 1), Inserted::Done);
        let seen = find(world.own(), 1).unwrap().seen();
        assert_eq!((seen & 0xffff, ProbeBound { word: seen }.farthest()), (0x155, 0));
    });
}
