//! Life and death: packets that take a flow back against reapers that condemn and delete it; births that are undone.

use loom::sync::Arc;
use loom::sync::atomic::Ordering::Relaxed;
use nat_common::stamp::{DELETE_AFTER, REVIVE_WINDOW};
use nat_common::table::find::is_mutual;
use nat_common::table::insert::{Inserted, insert};
use nat_common::table::life::{TakenBack, bury, condemn, take_back, undo};
use nat_common::table::memory::{Slot as _, Table as _};
use nat_common::table::remove::remove;
use nat_common::{HopStamp, Stamp};

use crate::explore::{Depth, World, explore, find, insert_patiently};
use crate::memory::{Cpu, Cursor, Rules, Value, key};
use crate::word::Word32;

/// Last packet of a flow that is past its deadline.
const LAST: Stamp = Stamp { word: 1_000 };
/// When the reaper and a packet of its come to it.
const NOW: Stamp = Stamp { word: 90_000 };

/// A pair: key 1 is the outbound half, key 2 the inbound one. Their homes are two.
fn pair(cpus: usize, rules: Rules, last: Stamp) -> World {
    let world = World::new(2, 8, cpus, rules);
    for (n, other) in [(1, 2), (2, 1)] {
        let value = Value { life: Some((last, HopStamp::UNRESOLVED)), ..Value::new(other) };
        assert_eq!(insert(world.own(), key(n), &value, 1), Inserted::Done);
    }
    world
}

fn halves(cpu: Cpu<'_>) -> [Cursor<'_>; 2] {
    [find(cpu, 1).unwrap(), find(cpu, 2).unwrap()]
}

/// A packet from inside.
fn revive(cpu: Cpu<'_>, clock: impl FnOnce() -> Stamp) -> TakenBack {
    let [out, back] = halves(cpu);
    take_back(out, back, clock)
}

/// The reaper's first step. A flow with a younger stamp than `LAST` is not past its deadline.
fn reap(cpu: Cpu<'_>) -> bool {
    let [out, back] = halves(cpu);
    let (out_last, in_last) = (out.last(), back.last());
    if out_last == NOW || in_last == NOW {
        return false;
    }
    condemn(out, back, out_last, in_last, NOW.dead())
}

/// The same by force, whatever the deadline, and again when a packet was first.
fn reap_by_force(cpu: Cpu<'_>) -> bool {
    let [out, back] = halves(cpu);
    (0..4).any(|_| condemn(out, back, out.last(), back.last(), NOW.dead_for_good()))
}

/// Packets and the reaper meet at a flow that is past its deadline: it is alive in the end, or condemned, never half of each.
pub fn condemnation(depth: Depth, rules: Rules, packets: u64) {
    explore(depth, move || {
        let mut world = pair(packets as usize + 1, rules, LAST);
        let threads: Vec<_> = (0..packets).map(|_| world.start(|cpu| revive(cpu, || NOW))).collect();
        let is_condemned = reap(world.own());
        let taken: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let [out, back] = halves(world.own());
        assert_eq!(out.last().is_dead(), back.last().is_dead(), "half a pair is dead: {taken:?}");
        let is_taken = taken.contains(&TakenBack::Now);
        assert_eq!(is_taken, !out.last().is_dead(), "{taken:?}, and the flow is the opposite");
        assert!(is_taken || is_condemned, "nobody was first");
    });
}

#[test]
fn a_packet_and_the_reaper_agree() {
    condemnation(Depth::All, Rules::default(), 1);
}

/// A packet takes the flow back while somebody deletes it by force: it is condemned in the end, both halves.
pub fn force(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = pair(2, rules, LAST);
        let packet = world.start(|cpu| revive(cpu, || NOW));
        assert!(reap_by_force(world.own()), "a packet was first again and again");
        packet.join().unwrap();
        assert!(halves(world.own()).iter().all(|half| half.last().is_dead()), "half a pair is alive");
    });
}

#[test]
fn who_deletes_by_force_is_not_undone() {
    force(Depth::Preemptions(3), Rules::default());
}

#[test]
fn two_packets_and_the_reaper_agree() {
    condemnation(Depth::Preemptions(2), Rules::default(), 2);
}

#[test]
#[ignore = "deep"]
fn deep_two_packets_and_the_reaper_agree() {
    condemnation(Depth::Preemptions(5), Rules::default(), 2);
}

/// A packet and two reapers meet at a flow that has long been dead. However old the packet's clock is before it looks at the
/// flow, the flow is the packet's or gone, and it is deleted once.
pub fn burial(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = pair(3, rules, NOW.dead());
        let ripe = Stamp { word: NOW.word + DELETE_AFTER.0 };
        let clock = Arc::new(Word32::new(NOW.word + REVIVE_WINDOW.0 - 1, 3));
        let shown = clock.clone();
        let packet = world.start(move |cpu| {
            let (out, back) = (find(cpu, 1)?, find(cpu, 2)?);
            Some(take_back(out, back, || Stamp { word: shown.load(cpu.number, Relaxed) }))
        });
        let reaper = |clock: Arc<Word32>| {
            move |cpu: Cpu<'_>| {
                clock.store(cpu.number, ripe.word, Relaxed);
                let Some(out) = find(cpu, 1) else { return false };
                bury(out, ripe) && {
                    assert!(remove(cpu, key(2)) && remove(cpu, key(1)), "somebody else removed it too");
                    true
                }
            }
        };
        let other = world.start(reaper(clock.clone()));
        let own = reaper(clock)(world.own());
        let buried = u32::from(own) + u32::from(other.join().unwrap());
        let taken = packet.join().unwrap();
        match taken {
            Some(TakenBack::Now) => assert_eq!(buried, 0, "a flow that was taken back is deleted"),
            _ => assert_eq!(buried, 1, "{taken:?}"),
        }
        assert_eq!(world.own().taken(), 2 - 2 * buried);
    });
}

#[test]
fn a_flow_is_deleted_once_or_taken_back() {
    burial(Depth::Preemptions(2), Rules::default());
}

/// The other half of the flow whose half is `n`, if both name each other.
fn pair_of<'a>(cpu: Cpu<'a>, entry: Cursor<'a>, n: u64) -> Option<(u64, Cursor<'a>)> {
    let theirs = entry.pair_key(key(n));
    let pair = find(cpu, theirs.addresses)?;
    is_mutual(pair, theirs, key(n)).then_some((theirs.addresses, pair))
}

/// Two CPUs create one flow, each with a reverse half of its own. A packet that finds one of the halves has a pair that is its
/// own; in the end one half is the winner's and the other one is dead, for the reaper.
pub fn undone(depth: Depth, rules: Rules) {
    /// Claims the reverse half, then completes the flow with key 1, or undoes the claim.
    fn birth(cpu: Cpu<'_>, reverse: u64) -> bool {
        let alive = |id| Value { life: Some((NOW, HopStamp::UNRESOLVED)), ..Value::new(id) };
        let mut claimed = Inserted::Disturbed;
        for _ in 0..6 {
            if claimed == Inserted::Disturbed {
                claimed = insert(cpu, key(reverse), &alive(1), 2);
            }
        }
        assert_eq!(claimed, Inserted::Done);
        let mut born = Inserted::Disturbed;
        for _ in 0..6 {
            if born == Inserted::Disturbed {
                born = insert(cpu, key(1), &alive(reverse), 0);
            }
        }
        if born == Inserted::Done {
            return true;
        }
        assert_eq!(born, Inserted::Exists);
        undo(find(cpu, reverse).unwrap(), NOW);
        cpu.subtract_taken(1);
        false
    }
    explore(depth, move || {
        // Key 1 and the reverse half 2 have different homes, the reverse halves 2 and 4 have one.
        let mut world = World::new(2, 8, 2, rules);
        let other = world.start(|cpu| {
            let won = birth(cpu, 2);
            // A packet from outside, of this CPU's half.
            let half = find(cpu, 2).unwrap();
            let pair = pair_of(cpu, half, 2);
            assert_eq!(pair.is_some(), won, "a half has the pair of its own flow, or none");
            won
        });
        let own = world.own();
        let won = birth(own, 4);
        assert_ne!(won, other.join().unwrap(), "one wins");
        let (winner, loser) = if won { (4, 2) } else { (2, 4) };
        let (forward, half) = (find(own, 1).unwrap(), find(own, winner).unwrap());
        assert_eq!(pair_of(own, forward, 1).map(|(n, _)| n), Some(winner));
        assert_eq!(pair_of(own, half, winner).map(|(n, _)| n), Some(1));
        assert!(!half.last().is_dead() && !forward.last().is_dead());
        assert!(find(own, loser).unwrap().last().is_dead(), "the loser's half is left to the reaper");
        assert_eq!(own.taken(), 3);
    });
}

#[test]
fn a_flow_that_two_cpus_create_is_one_flow() {
    undone(Depth::Preemptions(1), Rules::default());
}

#[test]
#[ignore = "deep"]
fn deep_a_flow_that_two_cpus_create_is_one_flow() {
    undone(Depth::Preemptions(3), Rules::default());
}

/// An insertion gives a slot back that it had reserved, and another one takes that slot at once, under a reader's eyes.
pub fn given_back(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(1, 3, rules);
        let threads =
            [2, 3].map(|n| world.start(move |cpu| assert_eq!(insert_patiently(cpu, n, n), Inserted::Done)));
        for n in [2, 3] {
            let became = crate::explore::translate(world.own(), n);
            assert!(became.is_none_or(|v| v == [n, n]), "translated with another flow's entry: {became:?}");
        }
        for thread in threads {
            thread.join().unwrap();
        }
        crate::explore::assert_has(world.own(), &[1, 2, 3]);
    });
}

#[test]
fn a_slot_that_is_given_back_is_taken_at_once() {
    given_back(Depth::Preemptions(1), Rules::default());
}

#[test]
#[ignore = "deep"]
fn deep_a_slot_that_is_given_back_is_taken_at_once() {
    given_back(Depth::Preemptions(2), Rules::default());
}
