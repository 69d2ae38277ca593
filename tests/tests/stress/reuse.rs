//! Places that are deleted and reused under a reader's eyes.
//!
//! In production nothing is deleted without a pause (see `nat_common::stamp`). Here every flow is,
//! from userspace, behind the reaper's back, so that the last line of defence, the key that is compared after
//! the last use of an entry, is tried thousands of times in seconds instead of once in years.

use std::net::SocketAddrV4;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use nat_common::reap::ReapAction;
use nat_common::{Addr, Port, Side, Tuple};
use nat_tests::fixture::{Arrives, CLIENT_MAC, IN_MAC, OUT_MAC, ROUTER_MAC, Setup, Verdict, World};
use nat_tests::lab::{SRV_A, client_addr, eip};
use nat_tests::packet::{Packet, Parsed, flags};

use super::{alone, cpus, duration};

/// The one port of the one EIP: the key of the inbound half is then known beforehand.
const PORT: u16 = 5000;
const CLIENT_PORT: u16 = 40_000;

/// What a victim looks like when it is deleted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Victim {
    /// Packets use it.
    Alive,
    /// Condemned: no packet may use it any more.
    Dead,
}

/// A flow that is told apart by its remote port.
#[derive(Clone, Copy)]
struct Flow(u16);

impl Flow {
    fn remote(self) -> SocketAddrV4 {
        SocketAddrV4::new(SRV_A, self.0)
    }

    fn keys(self) -> [Tuple; 2] {
        let outbound = Tuple {
            src: Addr::from(client_addr(0)),
            dst: Addr::from(SRV_A),
            sport: Port::new(CLIENT_PORT),
            dport: Port::new(self.0),
            proto: 6,
            side: Side::INSIDE,
            state: 0,
        };
        let inbound = Tuple {
            src: outbound.dst,
            dst: Addr::from(eip(0)),
            sport: outbound.dport,
            dport: Port::new(PORT),
            side: Side::OUTSIDE,
            ..outbound
        };
        [outbound, inbound]
    }

    fn question(self, flags: u8) -> Vec<u8> {
        let inside = SocketAddrV4::new(client_addr(0), CLIENT_PORT);
        Packet::tcp(inside, self.remote(), flags).macs(CLIENT_MAC, IN_MAC).build()
    }

    fn answer(self) -> Vec<u8> {
        let outside = SocketAddrV4::new(eip(0), PORT);
        Packet::tcp(self.remote(), outside, flags::ACK).macs(ROUTER_MAC, OUT_MAC).build()
    }
}

fn flows() -> Vec<Flow> {
    (1..=u16::MAX).map(Flow).collect()
}

#[test]
fn a_packet_in_flight_survives_the_deletion_of_its_live_flow() {
    hammer(Victim::Alive);
}

#[test]
fn a_packet_that_meets_a_dead_flow_never_gets_the_one_that_takes_its_place() {
    hammer(Victim::Dead);
}

fn hammer(victim: Victim) {
    let _alone = alone();
    // Four homes: every fourth flow or so takes the very place that the one before left.
    let setup = Setup { ports: (PORT, PORT), entries: 2, ..Setup::default() };
    let world = World::new(setup).unwrap();
    let flows = flows();
    let (stop, target, caught, judged) =
        (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let [one, other] = cpus();
    let cycles = std::thread::scope(|s| {
        let reader = s.spawn(|| read(&world, other, victim, &flows, &stop, &target, &caught, &judged));
        let cycles = turn_over(&world, one, victim, &flows, &target, &reader);
        stop.store(true, Ordering::SeqCst);
        if let Err(panic) = reader.join() {
            std::panic::resume_unwind(panic);
        }
        cycles
    });
    println!(
        "{cycles} flows replaced in place; {} packets forwarded and judged; {} caught in the middle and dropped",
        judged.load(Ordering::SeqCst),
        caught.load(Ordering::SeqCst)
    );
}

/// Replaces flow after flow: the places that one leaves go to the next at once.
fn turn_over(
    world: &World,
    cpu: usize,
    victim: Victim,
    flows: &[Flow],
    target: &AtomicU64,
    reader: &std::thread::ScopedJoinHandle<'_, ()>,
) -> u64 {
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut lane = world.lane(cpu).unwrap();
            let table = world.table().unwrap();
            let births: Vec<_> = flows.iter().map(|f| (f.question(flags::SYN), f.keys())).collect();
            let end = Instant::now() + duration() / 2;
            let mut cycles = 0;
            while Instant::now() < end && !reader.is_finished() {
                let nth = cycles as usize % flows.len();
                let (syn, keys) = &births[nth];
                if victim == Victim::Alive {
                    target.store(nth as u64, Ordering::SeqCst);
                }
                let ran = lane.run(Arrives::Inside, syn, 1).unwrap();
                assert_eq!(ran.verdict, Verdict::Redirect, "a birth into an almost empty table");
                if victim == Victim::Dead {
                    lane.reap(&keys[..1], ReapAction::CondemnForced).unwrap();
                    target.store(nth as u64, Ordering::SeqCst);
                }
                // A different moment each time.
                for _ in 0..cycles % 512 {
                    std::hint::spin_loop();
                }
                for key in keys {
                    table.remove(key).unwrap();
                }
                cycles += 1;
            }
            cycles
        })
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Sends packets of the flow that is about to be deleted, either direction in turn.
#[expect(clippy::too_many_arguments, reason = "the counters are the two threads' only common ground")]
fn read(
    world: &World,
    cpu: usize,
    victim: Victim,
    flows: &[Flow],
    stop: &AtomicBool,
    target: &AtomicU64,
    caught: &AtomicU64,
    judged: &AtomicU64,
) {
    let mut lane = world.lane(cpu).unwrap();
    // Neither packet can start a flow, and one that is dropped is not touched: it can go again and again.
    let frames: Vec<[Vec<u8>; 2]> = flows.iter().map(|f| [f.question(flags::ACK), f.answer()]).collect();
    let repeat = if victim == Victim::Dead { 64 } else { 1 };
    for turn in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let nth = target.load(Ordering::Relaxed) as usize;
        let (way, arrives) = if turn % 2 == 0 { (0, Arrives::Inside) } else { (1, Arrives::Outside) };
        let frame = &frames[nth][way];
        let ran = lane.run(arrives, frame, repeat).unwrap();
        // The station addresses are written last, when the entry has proved to be the right one.
        let is_forwarded = ran.frame[..12] != frame[..12];
        if is_forwarded {
            assert!(victim == Victim::Alive, "a dead flow's packet was translated: {}", shown(ran.frame));
            assert!(
                is_right(ran.frame, flows[nth], way),
                "{:?} became {}",
                flows[nth].remote(),
                shown(ran.frame)
            );
            judged.fetch_add(1, Ordering::Relaxed);
        } else if ran.frame != frame {
            caught.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn is_right(frame: &[u8], flow: Flow, way: usize) -> bool {
    let Some(p) = Parsed::from_frame(frame) else { return false };
    let wanted = if way == 0 {
        (SocketAddrV4::new(eip(0), PORT), flow.remote())
    } else {
        (flow.remote(), SocketAddrV4::new(client_addr(0), CLIENT_PORT))
    };
    p.checksums_ok() && (p.source(), p.destination()) == wanted
}

fn shown(frame: &[u8]) -> String {
    Parsed::from_frame(frame).map_or_else(|| format!("{frame:02x?}"), |p| p.to_string())
}
