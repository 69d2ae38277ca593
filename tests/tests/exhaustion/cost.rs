//! What a claim costs as a destination fills up.

use std::net::{Ipv4Addr, SocketAddrV4};

use nat_common::timeouts::Timeouts;
use nat_tests::fixture::{Arrives, CLIENT_MAC, IN_MAC, Lane, Ran, Setup, Verdict, World};
use nat_tests::lab::{SRV_A, client_addr};
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
        let (mut times, refused, probes) = std::thread::scope(|s| {
            let measure = || {
                let mut lane = world.lane(0).unwrap();
                fill(&world, &mut lane, percent);
                let before = world.stats().unwrap().probes;
                let (times, refused) = claims(&mut lane);
                (times, refused, (world.stats().unwrap().probes - before) / u64::from(CLAIMS))
            };
            s.spawn(measure).join().unwrap()
        });
        times.sort_unstable();
        let at = |share: usize| times[(times.len() - 1) * share / 100];
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

/// Takes `percent` of the ports towards the one destination, the way clients do.
fn fill(world: &World, lane: &mut Lane<'_>, percent: u32) {
    let wanted = u64::from(u32::from(PORTS.1 - PORTS.0) + 1) * u64::from(percent) / 100;
    let births = || world.stats().unwrap().births[1];
    let tuples = (1..=255).flat_map(|client| (1024..=u16::MAX).map(move |sport| (client, sport)));
    let mut missing = wanted;
    for (client, sport) in tuples {
        // Not every one gets a port, so what is still missing is counted now and then.
        if missing == 0 {
            missing = wanted - births();
        }
        if missing == 0 {
            return;
        }
        missing -= 1;
        ask(lane, client_addr(client), sport);
    }
    panic!("{} of {wanted} ports taken, and no end of it", births());
}

/// New flows one after the other: nanoseconds of each, and how many were refused.
fn claims(lane: &mut Lane<'_>) -> (Vec<u32>, u16) {
    let mut refused = 0;
    let times = (0..CLAIMS)
        .map(|n| {
            let ran = ask(lane, client_addr(0), 1024 + n);
            refused += u16::from(ran.verdict == Verdict::Drop);
            ran.nanoseconds
        })
        .collect();
    (times, refused)
}

/// The first packet of a flow.
fn ask<'lane>(lane: &'lane mut Lane<'_>, client: Ipv4Addr, sport: u16) -> Ran<'lane> {
    let packet = Packet::udp(SocketAddrV4::new(client, sport), SocketAddrV4::new(SRV_A, 53));
    lane.run(Arrives::Inside, &packet.macs(CLIENT_MAC, IN_MAC).build(), 1).unwrap()
}
