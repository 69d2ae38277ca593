//! Flows that are born, expire, are revived and deleted on two CPUs at once: no packet may ever be translated
//! with another flow's entry, and afterwards the table must add up.
//!
//! `STRESS_SECONDS` makes each storm last longer than the default.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

mod conversation;
mod duel;
mod reuse;
mod storm;

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nat_common::reap::{ReapAction, ReapResult};
use nat_common::{FlowEntry, Tuple};
use nat_tests::fixture::World;
use nat_tests::lab::wait_until;

/// How long a storm lasts.
fn duration() -> Duration {
    let seconds = std::env::var("STRESS_SECONDS").ok().and_then(|s| s.parse().ok());
    Duration::from_secs(seconds.unwrap_or(10))
}

/// The first and the last CPU: different ones wherever there are two.
fn cpus() -> [usize; 2] {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    [0, count - 1]
}

/// Each storm wants the CPUs for itself.
fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is left of births that were undone, as the collector finds it: inbound halves that are dead and whose outbound half
/// is another flow's, or nobody's.
fn undone(world: &World) -> Vec<Tuple> {
    let entries: HashMap<Tuple, FlowEntry> = world.flows().unwrap().into_iter().collect();
    let is_half = |key: &Tuple, entry: &FlowEntry| {
        let pair_key = entry.pair_key(key);
        entries.get(&pair_key).is_none_or(|pair| pair.pair_key(&pair_key) != *key)
    };
    let halves = entries.iter().filter(|(key, entry)| !entry.is_outbound() && is_half(key, entry));
    halves
        .inspect(|(key, half)| assert!(half.last.is_dead(), "{key:?} {half:?}"))
        .map(|(key, _)| *key)
        .collect()
}

/// Has the reaper bury what is left of births that were undone.
fn bury_undone(world: &World) {
    let halves = undone(world);
    std::thread::scope(|s| {
        s.spawn(|| {
            let lane = world.lane(0).unwrap();
            for record in lane.reap(&halves, ReapAction::Condemn).unwrap() {
                assert_eq!(ReapResult::from_number(record.result), ReapResult::Condemned, "{:?}", record.key);
            }
            wait_until("the halves are deleted", Duration::from_secs(5), || {
                lane.reap(&halves, ReapAction::Delete).unwrap();
                undone(world).is_empty()
            });
        });
    });
}

/// What must hold when nothing runs: pairs only, each half made for its addresses, as many as were born and not
/// yet buried. Returns the number of flows.
fn assert_table_adds_up(world: &World) -> u64 {
    let entries: HashMap<Tuple, FlowEntry> = world.flows().unwrap().into_iter().collect();
    for (key, entry) in &entries {
        let pair_key = entry.pair_key(key);
        let Some(pair) = entries.get(&pair_key) else { panic!("half a flow: {key:?} {entry:?}") };
        assert_eq!(pair.pair_key(&pair_key), *key, "a pair is mutual");
        assert_ne!(entry.is_outbound(), pair.is_outbound(), "one half goes out, one comes in: {key:?}");
        let fresh = FlowEntry::new(key, &entry.translated(key), 0, entry.last);
        assert_eq!(
            (entry.ip_delta, entry.l4_delta),
            (fresh.ip_delta, fresh.l4_delta),
            "deltas that belong to other addresses: {key:?} {entry:?}"
        );
    }
    let stats = world.stats().unwrap();
    let (births, deaths): (u64, u64) = (stats.births.iter().sum(), stats.deaths.iter().sum());
    let flows = entries.len() as u64 / 2;
    assert_eq!(births.checked_sub(deaths), Some(flows), "{births} births and {deaths} deaths");
    let taken = world.table().unwrap().taken().unwrap().load(Ordering::SeqCst);
    assert_eq!(u64::from(taken), 2 * flows, "the packet path counts its entries");
    flows
}
