//! Both CPUs create the same flow at the same moment: one pair comes of it, and both packets use it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nat_tests::fixture::{Arrives, Setup, Verdict, World};
use nat_tests::lab::{client_addr, eip};
use nat_tests::packet::flags;

use super::conversation::{CLIENTS, Conversation};
use super::{alone, cpus};

const ROUNDS: u64 = 20_000;
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
    std::thread::scope(|s| {
        for (me, cpu) in cpus().into_iter().enumerate() {
            let (world, arrived, outside, gone) = (&world, &arrived, &outside, &gone);
            s.spawn(move || {
                let _gone = TellPanic(gone);
                let mut lane = world.lane(cpu).unwrap();
                let mut table = world.table().unwrap();
                // Odd steps: both have sent. Even ones: both have looked.
                let meet = |step: u64| {
                    arrived[me].store(step, Ordering::SeqCst);
                    while arrived[1 - me].load(Ordering::SeqCst) < step {
                        assert!(!gone.load(Ordering::SeqCst), "the other one has given up");
                        std::hint::spin_loop();
                    }
                };
                for round in 0..ROUNDS {
                    let conversation = Conversation { number: (round % ROUND_SET) as u16 };
                    let frame = conversation.question(flags::SYN);
                    meet(3 * round + 1);
                    let ran = lane.run(Arrives::Inside, &frame, 1).unwrap();
                    assert_eq!(ran.verdict, Verdict::Redirect, "round {round}");
                    let given = conversation.judge_question(ran.frame, &[eip(0)]).unwrap();
                    outside[me].store(u64::from(given.port()), Ordering::SeqCst);
                    meet(3 * round + 2);
                    let both: Vec<u64> = outside.iter().map(|o| o.load(Ordering::SeqCst)).collect();
                    assert_eq!(both[0], both[1], "round {round}: one flow, two ports");
                    if me == 0 && round % ROUND_SET == ROUND_SET - 1 {
                        let entries = world.flows().unwrap();
                        let lost = world.stats().unwrap().lost_races;
                        assert_eq!(entries.len() as u64, 2 * ROUND_SET, "a pair each; {lost} births undone");
                        for (key, _) in entries {
                            table.remove(&key).unwrap();
                        }
                    }
                    meet(3 * round + 3);
                }
            });
        }
    });
    assert_eq!(world.flows().unwrap().len(), 0);
    let stats = world.stats().unwrap();
    println!("{ROUNDS} rounds, {} births undone", stats.lost_races);
    assert_eq!(stats.births.iter().sum::<u64>(), ROUNDS, "a birth that was undone does not count");
    assert!(stats.lost_races > 0, "the two never met: this proves nothing");
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
