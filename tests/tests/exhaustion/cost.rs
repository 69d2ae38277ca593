//! What a claim costs as a destination fills up.

use std::net::SocketAddrV4;

use nat_common::timeouts::Timeouts;
use nat_common::{Addr, FlowEntry, Port, Side, Stamp, Tuple};
use nat_tests::fixture::{Arrives, CLIENT_MAC, IN_MAC, Setup, Verdict, World};
use nat_tests::lab::{SRV_A, client_addr, eip};
use nat_tests::packet::Packet;

const PORTS: (u16, u16) = (1024, 65_535);
const CLAIMS: u16 = 400;

/// Far above what was measured anywhere: a blind walk over all ports would take 10 ms and more.
const LIMIT_NS: u32 = 1_000_000;

#[test]
fn a_claim_is_cheap_however_full_its_destination() {
    println!(
        "{:>6} {:>10} {:>10} {:>10} {:>8} {:>9}",
        "fill", "median", "90 %", "worst", "probes", "refused"
    );
    for percent in [0, 50, 90, 99, 100] {
        let setup = Setup {
            ports: PORTS,
            entries: 140_000,
            timeouts: Timeouts::RFC,
            probe_budget: u32::MAX,
            ..Setup::default()
        };
        let world = World::new(setup).unwrap();
        fill(&world, percent);
        let before = world.stats().unwrap().probes;
        let (mut times, refused) = std::thread::scope(|s| s.spawn(|| claims(&world)).join().unwrap());
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
        let probes = (world.stats().unwrap().probes - before) / u64::from(CLAIMS);
        println!(
            "{percent:>4} % {:>7} ns {:>7} ns {:>7} ns {probes:>8} {refused:>9}",
            at(50),
            at(90),
            at(100)
        );
        assert!(at(50) < LIMIT_NS, "{percent} % full: {} ns", at(50));
        assert_eq!(refused == CLAIMS, percent == 100, "refused {refused} of {CLAIMS} at {percent} %");
        if percent <= 90 {
            assert_eq!(refused, 0, "a tenth of the ports is free");
        }
    }
}

/// Takes `percent` of the ports towards the one destination, evenly spread.
fn fill(world: &World, percent: u32) {
    let table = world.table().unwrap();
    let now = Stamp::from_ns(1);
    for port in (PORTS.0..=PORTS.1).filter(|p| u32::from(*p) * 7919 % 100 < percent) {
        let key = Tuple {
            src: Addr::from(SRV_A),
            dst: Addr::from(eip(0)),
            sport: Port::new(53),
            dport: Port::new(port),
            proto: 17,
            side: Side::OUTSIDE,
            place: 0,
        };
        let becomes = Tuple { dst: Addr::from(client_addr(1)), ..key };
        table.insert(&key, &FlowEntry::new(&key, &becomes, 0, now)).unwrap();
    }
}

/// New flows one after the other: nanoseconds of each, and how many were refused.
fn claims(world: &World) -> (Vec<u32>, u16) {
    let mut lane = world.lane(0).unwrap();
    let mut refused = 0;
    let times = (0..CLAIMS)
        .map(|n| {
            let inside = SocketAddrV4::new(client_addr(0), 1024 + n);
            let packet = Packet::udp(inside, SocketAddrV4::new(SRV_A, 53)).macs(CLIENT_MAC, IN_MAC);
            let ran = lane.run(Arrives::Inside, &packet.build(), 1).unwrap();
            refused += u16::from(ran.verdict == Verdict::Drop);
            ran.nanoseconds
        })
        .collect();
    (times, refused)
}
