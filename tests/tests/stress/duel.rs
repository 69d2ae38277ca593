//! Both CPUs do the same thing to the same flow at the same moment: create it, or bury it.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nat_common::reap::{ReapAction, ReapResult};
use nat_common::stamp::DELETE_AFTER;

use nat_tests::fixture::{Arrives, Setup, Verdict, World};
use nat_tests::lab::{client_addr, eip};
use nat_tests::packet::flags;

use super::conversation::{CLIENTS, Conversation};
use super::{alone, assert_table_adds_up, bury_undone, cpus, undone};

const ROUNDS: u64 = 20_000;
/// Packets that may be lost to a winner that is stopped in the middle: on a machine busy with other work, a few in a
/// million were seen.
const MOST_RESENT: u64 = 4;
/// The table is emptied after this many.
const ROUND_SET: u64 = 500;

#[test]
fn a_flow_that_both_cpus_create_is_one_flow() {
    let _alone = alone();
    let setup = Setup { ports: (5000, 5999), entries: 4096, ..Setup::default() };
    let world = World::new(setup).unwrap();
    for n in 1..CLIENTS {
        let client = client_addr(n);
        world.gw().ip(&format!("neigh add {client} lladdr 02:00:00:00:00:0a dev in0")).unwrap();
    }
    let arrived = [AtomicU64::new(0), AtomicU64::new(0)];
    let outside = [AtomicU64::new(0), AtomicU64::new(0)];
    let gone = AtomicBool::new(false);
    let resent = AtomicU64::new(0);
    std::thread::scope(|s| {
        for (me, cpu) in cpus().into_iter().enumerate() {
            let (world, arrived, outside, gone, resent) = (&world, &arrived, &outside, &gone, &resent);
            s.spawn(move || {
                let _gone = TellPanic(gone);
                let mut lane = world.lane(cpu).unwrap();
                let table = world.table().unwrap();
                // Odd steps: both have sent. Even ones: both have looked.
                let meet = |step: u64| {
                    arrived[me].store(step, Ordering::SeqCst);
                    while arrived[1 - me].load(Ordering::SeqCst) < step {
                        assert!(!gone.load(Ordering::SeqCst), "the other one has given up");
                        std::hint::spin_loop();
                    }
                };
                let mut buried = 0;
                for round in 0..ROUNDS {
                    let conversation = Conversation { number: (round % ROUND_SET) as u16 };
                    let frame = conversation.question(flags::SYN);
                    meet(3 * round + 1);
                    let mut ran = lane.run(Arrives::Inside, &frame, 1).unwrap();
                    // Who loses waits for the winner's entry, but not for ever: when the winner is stopped in the middle
                    // of its insertion (here another process may have its CPU), the loser's packet is lost, and sent again.
                    if ran.verdict == Verdict::Drop && resent.fetch_add(1, Ordering::SeqCst) < MOST_RESENT {
                        std::thread::sleep(Duration::from_millis(20));
                        ran = lane.run(Arrives::Inside, &frame, 1).unwrap();
                    }
                    assert_eq!(ran.verdict, Verdict::Redirect, "round {round}");
                    let given = conversation.judge_question(ran.frame, &[eip(0)]).unwrap();
                    outside[me].store(u64::from(given.port()), Ordering::SeqCst);
                    meet(3 * round + 2);
                    let both: Vec<u64> = outside.iter().map(|o| o.load(Ordering::SeqCst)).collect();
                    assert_eq!(both[0], both[1], "round {round}: one flow, two ports");
                    if me == 0 && round % ROUND_SET == ROUND_SET - 1 {
                        let halves = undone(world);
                        let lost = world.stats().unwrap().lost_races;
                        assert_eq!(
                            buried + halves.len() as u64,
                            lost,
                            "each birth undone left one half, dead"
                        );
                        let keys: Vec<_> = world.flows().unwrap().into_iter().map(|(key, _)| key).collect();
                        let pairs = keys.iter().filter(|key| !halves.contains(key)).count() as u64;
                        assert_eq!(pairs, 2 * ROUND_SET, "a pair each; {lost} births undone");
                        // The halves of the last set are left to the reaper.
                        let is_last = round == ROUNDS - 1;
                        for key in keys.iter().filter(|key| !is_last || !halves.contains(key)) {
                            table.remove(key).unwrap();
                        }
                        buried = lost;
                        let taken = table.taken().unwrap().load(Ordering::SeqCst) as usize;
                        assert_eq!(
                            taken,
                            if is_last { halves.len() } else { 0 },
                            "room for whole flows is given back at once"
                        );
                    }
                    meet(3 * round + 3);
                }
            });
        }
    });
    bury_undone(&world);
    assert_eq!(world.flows().unwrap().len(), 0);
    let stats = world.stats().unwrap();
    println!("{ROUNDS} rounds, {} births undone", stats.lost_races);
    assert_eq!(stats.births.iter().sum::<u64>(), ROUNDS, "a birth that was undone does not count");
    assert!(stats.lost_races > 0, "the two never met: this proves nothing");
    let taken = world.table().unwrap().taken().unwrap().load(Ordering::SeqCst);
    assert_eq!(taken, 0, "a birth that was undone gives its room back");
}

/// The daemon and `natgw flows delete` may be after the same flows. Between the two removals of the slower one,
/// a new flow may have taken the faster one's place.
#[test]
fn a_flow_that_two_reapers_delete_dies_once() {
    const FLOWS: u16 = 4_000;
    let _alone = alone();
    let setup = Setup { ports: (5000, 7999), entries: 16_384, ..Setup::default() };
    let world = World::new(setup).unwrap();
    for n in 1..CLIENTS {
        let client = client_addr(n);
        world.gw().ip(&format!("neigh add {client} lladdr 02:00:00:00:00:0a dev in0")).unwrap();
    }
    let keys: Vec<_> = (0..FLOWS).map(|number| Conversation { number }.key()).collect();
    for round in 0..4 {
        std::thread::scope(|s| {
            s.spawn(|| {
                let mut lane = world.lane(cpus()[0]).unwrap();
                for number in 0..FLOWS {
                    lane.run(Arrives::Inside, &Conversation { number }.question(flags::SYN), 1).unwrap();
                }
                for record in lane.reap(&keys, ReapAction::CondemnForced).unwrap() {
                    assert_eq!(ReapResult::from_number(record.result), ReapResult::Condemned);
                }
            });
        });
        // Until they may be deleted: time is what the reaper waits for.
        std::thread::sleep(Duration::from_millis(DELETE_AFTER.ms()));
        let start = Barrier::new(2);
        let deleted: Vec<usize> = std::thread::scope(|s| {
            let reapers = cpus().map(|cpu| {
                let (world, keys, start) = (&world, &keys, &start);
                s.spawn(move || {
                    let lane = world.lane(cpu).unwrap();
                    start.wait();
                    let records = lane.reap(keys, ReapAction::Delete).unwrap();
                    records.iter().filter(|r| r.result == ReapResult::Deleted as u32).count()
                })
            });
            reapers.into_iter().map(|r| r.join().unwrap()).collect()
        });
        println!("round {round}: {deleted:?} deleted");
        assert_eq!(deleted.iter().sum::<usize>(), usize::from(FLOWS), "{deleted:?}");
        assert_eq!(assert_table_adds_up(&world), 0);
    }
}

/// Tells the other duellist when this one has panicked.
struct TellPanic<'a>(&'a AtomicBool);

impl Drop for TellPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(true, Ordering::SeqCst);
        }
    }
}
