//! Next-hop slots: M's next hops do not push out B's, and B's packets go to B.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

use nat_tests::fixture::{Arrives, CLIENT_MAC, IN_MAC, Lane, OUT_MAC, ROUTER_MAC, Setup, World};
use nat_tests::lab::raw::{M_MAC, Raw};
use nat_tests::lab::servers::{SMALL, Server, any};
use nat_tests::lab::tap::mac_of;
use nat_tests::lab::{Gateway, Lab, Netns, Options, SRV_A, client_addr, clients, mac_text};
use nat_tests::packet::{Packet, Parsed};

use super::at;

/// Takeovers that once brought the generation of a slot round to where it was.
const ROUND: u32 = (1 << 18) - 1;

/// The first slot of a next hop as long as it was computed without a key: what M could know.
fn unkeyed_slot(ifindex: u32, addr: Ipv4Addr) -> u32 {
    let word = u32::from_ne_bytes(addr.octets());
    (word ^ ifindex.rotate_left(16)).wrapping_mul(0x9e37_79b1) >> 18
}

/// Addresses of 10/8 that would share the victim's slots.
fn colliding(ifindex: u32, count: usize) -> Vec<Ipv4Addr> {
    let home = unkeyed_slot(ifindex, client_addr(0));
    let all = (0x0a01_0000..0x0b00_0000).map(Ipv4Addr::from_bits);
    all.filter(|a| unkeyed_slot(ifindex, *a) == home).take(count).collect()
}

/// Lines for `ip` by which M is at all these addresses.
fn neighbours(hosts: impl Iterator<Item = Ipv4Addr>) -> String {
    let line = |host| format!("neigh add {host} lladdr {} dev in0", mac_text(M_MAC));
    hosts.map(line).collect::<Vec<_>>().join("\n")
}

/// A flow of an inside host, as the frame of an answer to it.
fn answer_to(lane: &mut Lane<'_>, host: Ipv4Addr, mac: [u8; 6]) -> Vec<u8> {
    let (a, b) = (at(host, 40_000), SocketAddrV4::new(SRV_A, 443));
    let asked = lane.run(Arrives::Inside, &Packet::udp(a, b).macs(mac, IN_MAC).build(), 1).unwrap();
    let out = Parsed::from_frame(asked.frame).expect("translated");
    assert_ne!(out.src, host, "translated");
    Packet::udp(b, out.source()).macs(ROUTER_MAC, OUT_MAC).build()
}

/// Where the answer goes.
fn delivered_to(lane: &mut Lane<'_>, answer: &[u8]) -> [u8; 6] {
    lane.run(Arrives::Outside, answer, 1).unwrap().frame[..6].try_into().unwrap()
}

/// A world in which M has `count` next hops beside the victim's, and what to do there: the victim's answer and M's.
fn besieged(count: usize, siege: impl FnOnce(&World, &mut Lane<'_>, &[u8], &[Vec<u8>]) + Send) {
    let setup = Setup { ports: (1024, 65_535), entries: 4096, ..Setup::default() };
    let world = World::new(setup).unwrap();
    let ifindex = world.program(Arrives::Inside).unwrap().1;
    let hosts = colliding(ifindex, count);
    world.gw().ip("route add 10.0.0.0/8 dev in0").unwrap();
    world.gw().ip(&neighbours(hosts.iter().copied())).unwrap();
    thread::scope(|s| {
        let run = s.spawn(|| {
            let mut lane = world.lane(0).unwrap();
            let victim = answer_to(&mut lane, client_addr(0), CLIENT_MAC);
            assert_eq!(delivered_to(&mut lane, &victim), CLIENT_MAC);
            let others: Vec<_> = hosts.iter().map(|host| answer_to(&mut lane, *host, M_MAC)).collect();
            siege(&world, &mut lane, &victim, &others);
        });
        run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

/// Invariant 5: a stale stamp never passes. 262,143 takeovers once brought B's packets to M.
#[test]
fn takeovers_do_not_come_round_to_the_victims_stamp() {
    besieged(9, |_, lane, victim, others| {
        // Seven fill the other ways of the slot; the last two push each other out of the first.
        for other in &others[..7] {
            assert_eq!(delivered_to(lane, other), M_MAC);
        }
        for n in 0..ROUND {
            lane.run(Arrives::Outside, &others[7 + n as usize % 2], 1).unwrap();
        }
        assert_eq!(delivered_to(lane, victim), CLIENT_MAC, "the victim's packet after a round of takeovers");
    });
}

/// Invariant 8: no packet of M's makes B's flow ask the FIB again.
#[test]
fn the_victims_slot_is_not_taken_at_packet_rate() {
    const ROUNDS: usize = 2000;
    besieged(40, |world, lane, victim, others| {
        for other in others {
            lane.run(Arrives::Outside, other, 1).unwrap();
        }
        let mut resolved = 0;
        for n in 0..ROUNDS {
            lane.run(Arrives::Outside, &others[7 + n % (others.len() - 7)], 1).unwrap();
            let before = world.stats().unwrap().hops_resolved;
            assert_eq!(delivered_to(lane, victim), CLIENT_MAC, "packet {n}");
            resolved += world.stats().unwrap().hops_resolved - before;
        }
        assert!(resolved <= 10, "{resolved} of B's {ROUNDS} packets had to resolve their hop anew");
    });
}

/// A control: the whole of it on wires, 20,000 next hops of M's, more than there are slots, while B downloads.
#[test]
fn twenty_thousand_next_hops_do_not_disturb_the_victim() {
    let lab = Lab::two_armed(3).unwrap();
    let host = |n: u16| Ipv4Addr::from(u32::from(n) + 0x0ac8_0002);
    lab.gw().ip("addr add 10.200.0.1/16 dev in0").unwrap();
    lab.gw().ip(&neighbours((0..20_000).map(host))).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let inside = lab.inside_tap().unwrap();
    let (newcomer, b, m) = (lab.client(0), lab.client(1), Raw::inside(&lab).unwrap());
    let script = format!("curl -sS --fail --max-time 8 http://{SRV_A}/3mb | sha256sum");
    let wanted = clients::expected_sha256(SMALL).unwrap();
    let download = |host: &Netns| {
        let sum = host.output("sh", &["-c", &script]).unwrap();
        assert_eq!(sum.split_whitespace().next(), Some(wanted.as_str()), "a download by {}", host.name());
    };
    thread::scope(|s| {
        let spray = s.spawn(|| {
            for n in (0..20_000).chain(0..20_000) {
                m.send(Packet::udp(at(host(n), 4000), at(SRV_A, 53))).unwrap();
                if n % 50 == 0 {
                    // A full ring would only lose what the slots should get to see.
                    thread::sleep(std::time::Duration::from_millis(1));
                }
            }
        });
        while !spray.is_finished() {
            download(b);
        }
        download(b);
        // One for whom there may be no slot left.
        download(newcomer);
    });
    for (n, host) in [(0, newcomer), (1, b)] {
        let own = mac_of(host, "eth0").unwrap();
        let astray = inside.find(|p, _| p.dst == client_addr(n) && p.dmac != own);
        assert!(
            astray.is_empty(),
            "{} packets of {} went astray, e.g. {}",
            astray.len(),
            host.name(),
            astray[0]
        );
    }
    let m_saw: BTreeSet<_> = inside.find(|p, _| p.dmac == M_MAC).iter().map(|p| p.dst).collect();
    assert!(m_saw.len() > 10_000, "the spray was answered at {} addresses", m_saw.len());
}
