//! Slots that are given to another flow under a packet's eyes: what the second look at the key covers, and what only the pause
//! before a deletion does (`nat_common::table`, "What is assumed about time").

use loom::sync::Arc;
use nat_common::table::insert::{Inserted, insert};
use nat_common::table::life::store_hop;
use nat_common::table::memory::Slot as _;
use nat_common::table::remove::remove;
use nat_common::{HopStamp, Stamp};

use crate::explore::{Depth, World, explore, find, translate};
use crate::memory::{Cpu, Rules, Value, key};
use crate::word::Word32;

/// A packet is translated while its flow's slot is freed and taken by another flow, at once, without any pause.
pub fn another_key(depth: Depth, rules: Rules) {
    explore(depth, move || {
        let mut world = World::filled(1, 2, rules);
        let other = world.start(|cpu| {
            assert!(remove(cpu, key(1)));
            assert_eq!(crate::explore::insert(cpu, 2, 2), Inserted::Done);
        });
        let own = world.own();
        let became = translate(own, 1);
        assert!(became.is_none_or(|v| v == [1, 1]), "translated with another flow's entry: {became:?}");
        let became = translate(own, 2);
        assert!(became.is_none_or(|v| v == [2, 2]), "translated with another flow's entry: {became:?}");
        other.join().unwrap();
    });
}

#[test]
fn a_packet_is_never_translated_with_another_flows_entry() {
    another_key(Depth::Preemptions(2), Rules::default());
}

#[test]
#[ignore = "deep"]
fn deep_a_packet_is_never_translated_with_another_flows_entry() {
    another_key(Depth::Preemptions(3), Rules::default());
}

/// Whether the reaper waits until packets that were there before a flow's death are done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    Kept,
    Skipped,
}

/// Packets in flight: the model of time. The reaper waits much longer than any packet takes, so a packet that began before a
/// death has ended when the reaper deletes. Whoever deletes too early in the model gives up instead.
#[derive(Clone)]
struct Packets {
    in_flight: Arc<Word32>,
    pause: Pause,
}

impl Packets {
    fn new(cpus: usize, pause: Pause) -> Self {
        Self { in_flight: Arc::new(Word32::new(0, cpus)), pause }
    }

    fn run<T>(&self, cpu: Cpu<'_>, packet: impl FnOnce() -> T) -> T {
        self.in_flight.add(cpu.number, 1);
        let result = packet();
        self.in_flight.add(cpu.number, u32::MAX);
        result
    }

    fn are_done(&self, cpu: Cpu<'_>) -> bool {
        self.pause == Pause::Skipped || self.in_flight.add(cpu.number, 0) == 0
    }
}

const ALIVE: Stamp = Stamp { word: 7 };

/// The flow with this number and hop.
fn flow(id: u64, hop: HopStamp) -> Value {
    Value { life: Some((ALIVE, hop)), ..Value::new(id) }
}

/// Condemns the first key's flow, and after the pause gives its slot to another one: whether it could.
fn replace(cpu: Cpu<'_>, packets: &Packets, by: u64, value: &Value) -> bool {
    let entry = find(cpu, 1).unwrap();
    assert!(entry.replace_last(ALIVE, ALIVE.dead()));
    if !packets.are_done(cpu) {
        return false;
    }
    assert!(remove(cpu, key(1)));
    assert_eq!(insert(cpu, key(by), value, 1), Inserted::Done);
    true
}

/// What a packet of the first key reads, if it finds its flow alive.
fn packet(cpu: Cpu<'_>) -> Option<[u64; 2]> {
    let entry = find(cpu, 1)?;
    if entry.last().is_dead() {
        return None;
    }
    let value = entry.value();
    entry.is_still(key(1)).then_some(value)
}

/// A flow is deleted and a new flow has the same key, in the same slot, but another translation.
pub fn reborn(depth: Depth, rules: Rules, pause: Pause) {
    explore(depth, move || {
        let mut world = World::new(1, 8, 2, rules);
        let packets = Packets::new(2, pause);
        assert_eq!(insert(world.own(), key(1), &flow(0xa, HopStamp::UNRESOLVED), 1), Inserted::Done);
        let seen = packets.clone();
        let reaper = world.start(move |cpu| replace(cpu, &seen, 1, &flow(0xb, HopStamp::UNRESOLVED)));
        let own = world.own();
        if let Some([one, other]) = packets.run(own, || packet(own)) {
            assert_eq!(one, other, "half of one translation and half of another");
        }
        reaper.join().unwrap();
    });
}

#[test]
fn a_key_that_is_reborn_is_never_read_half() {
    reborn(Depth::Preemptions(3), Rules::default(), Pause::Kept);
}

/// The key alone does not tell one flow from the next of the same key: the pause does.
#[test]
#[should_panic(expected = "half of one translation and half of another")]
fn without_the_pause_a_key_that_is_reborn_is_read_half() {
    reborn(Depth::Preemptions(3), Rules::default(), Pause::Skipped);
}

const OWN_HOP: HopStamp = HopStamp { word: 5 };

/// A packet resolves its flow's hop and stores it, while the slot goes to another flow whose packets read theirs.
pub fn hop(depth: Depth, rules: Rules, pause: Pause) {
    explore(depth, move || {
        let mut world = World::new(1, 8, 2, rules);
        let packets = Packets::new(2, pause);
        assert_eq!(insert(world.own(), key(1), &flow(1, HopStamp::UNRESOLVED), 1), Inserted::Done);
        let seen = packets.clone();
        let other = world.start(move |cpu| {
            if replace(cpu, &seen, 2, &flow(2, HopStamp::UNRESOLVED)) {
                let hop = find(cpu, 2).unwrap().hop();
                assert_eq!(hop, HopStamp::UNRESOLVED, "sent to another flow's next hop");
            }
        });
        let own = world.own();
        packets.run(own, || {
            if let Some(entry) = find(own, 1)
                && !entry.last().is_dead()
            {
                store_hop(entry, key(1), HopStamp::UNRESOLVED, OWN_HOP);
            }
        });
        other.join().unwrap();
        if let Some(entry) = find(own, 2) {
            assert_eq!(entry.hop(), HopStamp::UNRESOLVED, "another flow keeps a hop that is not its own");
        }
    });
}

#[test]
fn no_flow_is_given_another_flows_hop() {
    hop(Depth::Preemptions(3), Rules::default(), Pause::Kept);
}

/// A hop is stored before the key is looked at again. Without the pause another flow's packet could use it in between.
#[test]
#[should_panic(expected = "sent to another flow's next hop")]
fn without_the_pause_a_flow_is_given_another_flows_hop() {
    hop(Depth::Preemptions(3), Rules::default(), Pause::Skipped);
}
