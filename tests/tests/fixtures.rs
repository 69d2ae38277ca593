//! Every rule of the packet path as a fixture: packets in, expected action, frame and counters out.
//!
//! The pool has one EIP with one port, 5000, unless a fixture says otherwise: so the outcome is certain.

use std::net::{Ipv4Addr, SocketAddrV4};

use nat_common::timeouts::Timeouts;
use nat_tests::fixture::{
    Arrives, CLIENT_MAC, IN_MAC, OUT_MAC, ROUTER_MAC, Setup, Step, Verdict, World, object_path,
};
use nat_tests::lab::{GW_INSIDE, GW_OUTSIDE, SRV_A, SRV_B, client_addr, eip};
use nat_tests::packet::{Packet, flags};

const OUT: [(&str, u64); 2] = [("source_in", 1), ("destination_out", 1)];
const IN: [(&str, u64); 2] = [("destination_in", 1), ("source_out", 1)];
const BORN: [(&str, u64); 2] = [("attempts", 1), ("births", 1)];

fn client() -> SocketAddrV4 {
    SocketAddrV4::new(client_addr(0), 40_000)
}

fn server() -> SocketAddrV4 {
    SocketAddrV4::new(SRV_A, 443)
}

fn outside() -> SocketAddrV4 {
    SocketAddrV4::new(eip(0), 5000)
}

/// The packet as it leaves towards the router.
fn translated_out(packet: &Packet) -> Packet {
    let dport = dport_of(packet);
    packet
        .clone()
        .addresses(eip(0), packet.dst)
        .ports(5000, dport)
        .ttl(packet.ttl - 1)
        .macs(OUT_MAC, ROUTER_MAC)
}

/// The packet as it reaches the client.
fn translated_in(packet: &Packet, sport: u16) -> Packet {
    packet
        .clone()
        .addresses(packet.src, client_addr(0))
        .ports(sport, 40_000)
        .ttl(packet.ttl - 1)
        .macs(IN_MAC, CLIENT_MAC)
}

fn dport_of(packet: &Packet) -> u16 {
    use nat_tests::packet::Layer4::{Tcp, Udp};
    match packet.l4 {
        Tcp { dport, .. } | Udp { dport, .. } => dport,
        _ => 0,
    }
}

fn step(
    arrives: Arrives,
    packet: Packet,
    verdict: Verdict,
    becomes: Option<Packet>,
    counts: &[&[(&'static str, u64)]],
) -> Step {
    Step { arrives, packet, verdict, becomes, counts: counts.concat() }
}

fn opens(packet: Packet) -> Step {
    let becomes = translated_out(&packet);
    step(Arrives::Inside, packet, Verdict::Redirect, Some(becomes), &[&OUT, &BORN])
}

fn goes_on(packet: Packet) -> Step {
    let becomes = translated_out(&packet);
    step(Arrives::Inside, packet, Verdict::Redirect, Some(becomes), &[&OUT])
}

fn comes_back(packet: Packet, sport: u16, more: &[(&'static str, u64)]) -> Step {
    let becomes = translated_in(&packet, sport);
    step(Arrives::Outside, packet, Verdict::Redirect, Some(becomes), &[&IN, more])
}

fn dropped_inside(packet: Packet, reason: &'static str) -> Step {
    step(Arrives::Inside, packet, Verdict::Drop, None, &[&[("source_in", 1), (reason, 1)]])
}

fn dropped_outside(packet: Packet, reason: &'static str) -> Step {
    step(Arrives::Outside, packet, Verdict::Drop, None, &[&[("destination_in", 1), (reason, 1)]])
}

fn passes(arrives: Arrives, packet: Packet) -> Step {
    step(arrives, packet, Verdict::Pass, None, &[&[("passed", 1)]])
}

#[track_caller]
fn run(name: &str, setup: Setup, steps: Vec<Step>) {
    let world = World::new(setup).unwrap_or_else(|e| panic!("{e:#} ({})", object_path().display()));
    check(name, &world, steps);
}

#[track_caller]
fn check(name: &str, world: &World, steps: Vec<Step>) {
    for (n, step) in steps.iter().enumerate() {
        if let Err(e) = world.step(step) {
            panic!("{name}, step {n}: {:?} {:?}\n{e:#}", step.arrives, step.packet);
        }
    }
}

fn syn() -> Packet {
    Packet::tcp(client(), server(), flags::SYN)
}

fn syn_ack() -> Packet {
    Packet::tcp(server(), outside(), flags::SYN | flags::ACK)
}

fn ask() -> Packet {
    Packet::udp(client(), server())
}

fn answer() -> Packet {
    Packet::udp(server(), outside())
}

#[test]
fn b1_a_tcp_connection_both_ways() {
    run(
        "tcp",
        Setup::default(),
        vec![
            opens(syn()),
            comes_back(syn_ack(), 443, &[]),
            step(
                Arrives::Inside,
                Packet::tcp(client(), server(), flags::ACK),
                Verdict::Redirect,
                Some(translated_out(&Packet::tcp(client(), server(), flags::ACK))),
                &[&OUT, &[("established", 1)]],
            ),
            goes_on(Packet::tcp(client(), server(), flags::ACK | flags::PSH).payload("GET / HTTP/1.1")),
            comes_back(Packet::tcp(server(), outside(), flags::ACK).payload([0xa5; 1400]), 443, &[]),
            goes_on(Packet::tcp(client(), server(), flags::FIN | flags::ACK)),
            comes_back(Packet::tcp(server(), outside(), flags::FIN | flags::ACK), 443, &[]),
            goes_on(Packet::tcp(client(), server(), flags::ACK)),
        ],
    );
}

#[test]
fn x3_a_reset_is_translated_and_so_is_what_follows() {
    run(
        "reset",
        Setup::default(),
        vec![
            opens(syn()),
            comes_back(Packet::tcp(server(), outside(), flags::RST | flags::ACK), 443, &[]),
            goes_on(Packet::tcp(client(), server(), flags::ACK)),
        ],
    );
}

#[test]
fn b1_udp_both_ways_with_and_without_checksum_and_odd_lengths() {
    let without = |p: Packet| p.with(|p| p.spoil.l4_checksum = Some(0));
    run(
        "udp",
        Setup::default(),
        vec![
            opens(ask().payload("x")),
            comes_back(answer().payload("odd"), 443, &[("established", 1)]),
            goes_on(without(ask())),
            comes_back(without(answer()), 443, &[]),
            goes_on(ask().payload(Vec::new())),
        ],
    );
}

#[test]
fn b1_a_udp_checksum_that_becomes_zero_is_sent_as_ffff() {
    // The last payload word is chosen so that the translated datagram's sum is 0xffff, its checksum 0.
    let mut packet = ask().payload([0, 0]);
    let mut wanted = translated_out(&packet);
    for word in 0..=u16::MAX {
        wanted.payload = word.to_be_bytes().to_vec();
        let frame = wanted.build();
        if frame[40..42] == [0xff, 0xff] {
            packet.payload.clone_from(&wanted.payload);
            return run("udp 0", Setup::default(), vec![opens(packet)]);
        }
    }
    panic!("no payload makes the checksum 0");
}

#[test]
fn i1_an_echo_both_ways() {
    let request = Packet::echo_request(client_addr(0), SRV_A, 7);
    let out = request.clone().addresses(eip(0), SRV_A).ports(5000, 0).ttl(63).macs(OUT_MAC, ROUTER_MAC);
    let reply = Packet::echo_reply(SRV_A, eip(0), 5000);
    let back = reply.clone().addresses(SRV_A, client_addr(0)).ports(0, 7).ttl(63).macs(IN_MAC, CLIENT_MAC);
    run(
        "echo",
        Setup::default(),
        vec![
            step(Arrives::Inside, request, Verdict::Redirect, Some(out), &[&OUT, &BORN]),
            step(Arrives::Outside, reply, Verdict::Redirect, Some(back), &[&IN, &[("established", 1)]]),
            dropped_outside(Packet::echo_reply(SRV_A, eip(0), 5001), "unsolicited_inbound"),
        ],
    );
}

#[test]
fn b3_options_dscp_ecn_and_identification_are_kept() {
    let decorated = |p: Packet| {
        p.tos(0xbb).with(|p| {
            p.options = vec![0x94, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0];
            p.id = 0xbeef;
        })
    };
    run(
        "options",
        Setup::default(),
        vec![
            opens(decorated(syn())),
            comes_back(decorated(syn_ack()), 443, &[]),
            opens_other(decorated(ask())),
        ],
    );
}

fn opens_other(packet: Packet) -> Step {
    opens(packet)
}

#[test]
fn t4_from_outside_to_an_eip_without_a_flow() {
    let mut steps: Vec<Step> = (0..64)
        .map(|bits| dropped_outside(Packet::tcp(server(), outside(), bits), "unsolicited_inbound"))
        .collect();
    steps.push(dropped_outside(answer(), "unsolicited_inbound"));
    steps.push(dropped_outside(Packet::echo_request(SRV_A, eip(0), 1), "unsolicited_inbound"));
    steps.push(dropped_outside(Packet::echo_reply(SRV_A, eip(0), 1), "unsolicited_inbound"));
    run("unsolicited", Setup::default(), steps);
}

#[test]
fn filtering_is_by_address_and_port() {
    run(
        "filtering",
        Setup::default(),
        vec![
            opens(ask()),
            dropped_outside(Packet::udp(SocketAddrV4::new(SRV_B, 443), outside()), "unsolicited_inbound"),
            dropped_outside(Packet::udp(SocketAddrV4::new(SRV_A, 444), outside()), "unsolicited_inbound"),
            dropped_outside(Packet::udp(server(), SocketAddrV4::new(eip(0), 5001)), "unsolicited_inbound"),
            dropped_outside(Packet::tcp(server(), outside(), flags::ACK), "unsolicited_inbound"),
            comes_back(answer(), 443, &[("established", 1)]),
        ],
    );
}

#[test]
fn b2_from_outside_straight_to_an_inside_address() {
    let inside = SocketAddrV4::new(client_addr(0), 22);
    run(
        "into the inside",
        Setup::default(),
        vec![
            dropped_outside(Packet::tcp(server(), inside, flags::SYN), "unsolicited_inbound"),
            dropped_outside(Packet::udp(server(), inside), "unsolicited_inbound"),
            dropped_outside(Packet::echo_request(SRV_A, client_addr(0), 1), "unsolicited_inbound"),
        ],
    );
}

#[test]
fn only_a_syn_opens_a_tcp_flow() {
    let steps = (0..64u8)
        .filter(|bits| bits & 0x17 != flags::SYN)
        .map(|bits| dropped_inside(Packet::tcp(client(), server(), bits), "no_flow"))
        .collect();
    run("not a SYN", Setup::default(), steps);
}

#[test]
fn an_echo_reply_opens_nothing() {
    run(
        "echo reply",
        Setup::default(),
        vec![dropped_inside(Packet::echo_reply(client_addr(0), SRV_A, 1), "no_flow")],
    );
}

#[test]
fn sources_that_cannot_be_genuine() {
    let stranger = SocketAddrV4::new([172, 20, 0, 9].into(), 40_000);
    run(
        "spoofed",
        Setup::default(),
        vec![
            opens(ask()),
            dropped_outside(ask(), "spoofed_source"),
            dropped_outside(Packet::udp(outside(), server()), "spoofed_source"),
            dropped_inside(answer(), "unsolicited_inbound"),
            dropped_inside(Packet::udp(outside(), server()), "spoofed_source"),
            dropped_inside(Packet::udp(stranger, server()), "spoofed_source"),
        ],
    );
}

#[test]
fn b3_what_cannot_be_translated_is_dropped_in_both_directions() {
    let mut steps = Vec::new();
    for proto in [0, 2, 4, 41, 47, 50, 51, 58, 132, 136, 255] {
        steps.push(dropped_inside(Packet::raw(client_addr(0), SRV_A, proto), "unsupported_proto"));
        steps.push(dropped_outside(Packet::raw(SRV_A, eip(0), proto), "unsupported_proto"));
    }
    for kind in [3, 4, 5, 9, 10, 11, 12, 13, 14, 17] {
        steps.push(dropped_inside(Packet::icmp(client_addr(0), SRV_A, kind, 0, [0; 4]), "unsupported_proto"));
        steps.push(dropped_outside(Packet::icmp(SRV_A, eip(0), kind, 0, [0; 4]), "unsupported_proto"));
    }
    run("unsupported", Setup::default(), steps);
}

#[test]
fn fragments_are_dropped_and_counted() {
    let first = |p: Packet| p.with(|p| (p.df, p.mf) = (false, true));
    let later = |p: Packet| p.with(|p| (p.df, p.offset) = (false, 100));
    run(
        "fragments",
        Setup::default(),
        vec![
            dropped_inside(first(ask()), "fragment"),
            dropped_inside(later(ask()), "fragment"),
            dropped_outside(first(answer()), "fragment"),
            dropped_outside(later(answer()), "fragment"),
            opens(ask()),
            dropped_inside(first(ask()), "fragment"),
            dropped_outside(later(answer()), "fragment"),
        ],
    );
}

#[test]
fn malformed_headers() {
    let spoiled = |change: fn(&mut Packet)| ask().with(change);
    let bad = |packet| step(Arrives::Inside, packet, Verdict::Drop, None, &[&[("bad_header", 1)]]);
    run(
        "malformed",
        Setup::default(),
        vec![
            bad(spoiled(|p| p.spoil.version = Some(6))),
            bad(spoiled(|p| p.spoil.ihl = Some(4))),
            bad(spoiled(|p| p.spoil.ihl = Some(15))),
            bad(spoiled(|p| p.spoil.total_length = Some(19))),
            bad(spoiled(|p| p.spoil.total_length = Some(27))),
            bad(spoiled(|p| p.spoil.total_length = Some(1400))),
            bad(spoiled(|p| p.spoil.truncate = Some(14 + 20 + 7))),
            bad(syn().with(|p| p.spoil.truncate = Some(14 + 20 + 19))),
            bad(Packet::echo_request(client_addr(0), SRV_A, 1).with(|p| p.spoil.truncate = Some(14 + 20 + 7))),
        ],
    );
}

#[test]
fn what_is_for_the_host_passes() {
    let router = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 254), 50_000);
    run(
        "host traffic",
        Setup::default(),
        vec![
            passes(Arrives::Outside, Packet::tcp(server(), SocketAddrV4::new(GW_OUTSIDE, 22), flags::SYN)),
            passes(Arrives::Outside, Packet::udp(router, SocketAddrV4::new(GW_OUTSIDE, 179))),
            passes(Arrives::Inside, Packet::udp(client(), SocketAddrV4::new(GW_INSIDE, 53))),
            passes(Arrives::Inside, Packet::echo_request(client_addr(0), GW_INSIDE, 1)),
            passes(Arrives::Inside, Packet::udp(client(), SocketAddrV4::new([224, 0, 0, 251].into(), 5353))),
            passes(
                Arrives::Inside,
                Packet::udp(client(), SocketAddrV4::new(Ipv4Addr::BROADCAST, 67)).macs(CLIENT_MAC, [0xff; 6]),
            ),
            passes(Arrives::Inside, Packet::udp(client(), SocketAddrV4::new([10, 9, 9, 9].into(), 53))),
            passes(Arrives::Inside, Packet::udp(client(), server()).macs(CLIENT_MAC, [2, 0, 0, 0, 0, 0x55])),
        ],
    );
}

#[test]
fn arp_and_ipv6_pass() {
    let world = World::new(Setup::default()).unwrap();
    for ethertype in [[0x08, 0x06], [0x86, 0xdd], [0x88, 0xcc]] {
        let mut frame = ask().macs(CLIENT_MAC, IN_MAC).build();
        frame[12..14].copy_from_slice(&ethertype);
        for arrives in [Arrives::Inside, Arrives::Outside] {
            assert_eq!(world.run(arrives, &frame).unwrap(), (Verdict::Pass, frame.clone()));
        }
    }
}

#[test]
fn vlan_tagged_from_an_inside_source_is_dropped_others_pass() {
    run(
        "vlan",
        Setup::default(),
        vec![
            step(Arrives::Inside, ask().with(|p| p.vlan = Some(7)), Verdict::Drop, None, &[&[("vlan", 1)]]),
            passes(Arrives::Outside, answer().with(|p| p.vlan = Some(7))),
        ],
    );
}

#[test]
fn exempt_destinations_are_routed_untranslated() {
    let setup = Setup { exempt: vec![(Ipv4Addr::new(203, 0, 113, 0), 24)], ..Setup::default() };
    let exempt = SocketAddrV4::new(SRV_B, 443);
    run(
        "exempt",
        setup,
        vec![
            passes(Arrives::Inside, Packet::tcp(client(), exempt, flags::SYN)),
            passes(Arrives::Outside, Packet::tcp(exempt, client(), flags::SYN | flags::ACK)),
            opens(ask()),
        ],
    );
}

#[test]
fn b3_ttl_that_ends_here() {
    run(
        "ttl",
        Setup::default(),
        vec![
            opens(ask()),
            passes(Arrives::Inside, ask().ttl(1)),
            goes_on(ask().ttl(2)),
            step(Arrives::Outside, answer().ttl(1), Verdict::Drop, None, &[&[("ttl", 1)]]),
            comes_back(answer().ttl(2), 443, &[("established", 1)]),
        ],
    );
}

#[test]
fn u13_too_big_for_the_outside_link() {
    let setup = Setup { outside_mtu: 1400, ..Setup::default() };
    let big = |df: bool| ask().payload([1; 1380]).with(|p| p.df = df);
    let handed_over = big(false).addresses(eip(0), SRV_A).ports(5000, 443).macs(CLIENT_MAC, IN_MAC);
    run(
        "mtu",
        setup,
        vec![
            opens(ask().payload([1; 1372])),
            passes(Arrives::Inside, big(true)),
            step(Arrives::Inside, big(false), Verdict::Pass, Some(handed_over), &[&OUT, &[("handovers", 1)]]),
        ],
    );
}

#[test]
fn an_unresolved_next_hop_goes_to_the_kernel_translated() {
    let setup = Setup { neighbours: false, ..Setup::default() };
    let handed_over = ask().addresses(eip(0), SRV_A).ports(5000, 443).macs(CLIENT_MAC, IN_MAC);
    let mut world = World::new(setup).unwrap();
    check(
        "no neighbour",
        &world,
        vec![step(
            Arrives::Inside,
            ask(),
            Verdict::Pass,
            Some(handed_over),
            &[&OUT, &BORN, &[("handovers", 1)]],
        )],
    );
    world.gw().ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev out0").unwrap();
    world.bump_hops().unwrap();
    check("neighbour known", &world, vec![goes_on(ask())]);
}

#[test]
fn a_hop_of_an_old_generation_is_resolved_again() {
    let mut world = World::new(Setup::default()).unwrap();
    check("before", &world, vec![opens(ask())]);
    world.gw().ip("neigh replace 192.0.2.254 lladdr 02:00:00:00:00:77 dev out0").unwrap();
    check("not told yet", &world, vec![goes_on(ask())]);
    world.bump_hops().unwrap();
    let moved = translated_out(&ask()).macs(OUT_MAC, [2, 0, 0, 0, 0, 0x77]);
    check("told", &world, vec![step(Arrives::Inside, ask(), Verdict::Redirect, Some(moved), &[&OUT])]);
}

#[test]
fn c11_no_port_left() {
    let second = Packet::udp(SocketAddrV4::new(client_addr(0), 40_001), server());
    run(
        "exhausted",
        Setup::default(),
        vec![
            opens(ask()),
            step(
                Arrives::Inside,
                second,
                Verdict::Drop,
                None,
                &[&[("source_in", 1), ("attempts", 1), ("port_exhausted", 1), ("port_allocation_errors", 1)]],
            ),
            comes_back(answer(), 443, &[("established", 1)]),
        ],
    );
}

#[test]
fn x4_one_port_serves_many_destinations() {
    let other = |n: u16| Packet::udp(client(), SocketAddrV4::new(SRV_B, n));
    run(
        "reuse",
        Setup::default(),
        vec![
            opens(ask()),
            opens(other(1)),
            opens(other(2)),
            comes_back(Packet::udp(SocketAddrV4::new(SRV_B, 2), outside()), 2, &[("established", 1)]),
        ],
    );
}

#[test]
fn c11_a_full_table_refuses_new_flows_and_keeps_the_old() {
    let world = World::new(Setup { entries: 4, ports: (5000, 5999), ..Setup::default() }).unwrap();
    let from = |port| {
        Packet::udp(SocketAddrV4::new(client_addr(0), port), server()).macs(CLIENT_MAC, IN_MAC).build()
    };
    let mut verdicts: Vec<Verdict> =
        (1..=40).map(|p| world.run(Arrives::Inside, &from(p)).unwrap().0).collect();
    assert_eq!(verdicts[0], Verdict::Redirect);
    assert_eq!(world.run(Arrives::Inside, &from(1)).unwrap().0, Verdict::Redirect, "the first still lives");
    verdicts.retain(|v| *v == Verdict::Drop);
    let counters = world.counters().unwrap();
    assert!(!verdicts.is_empty());
    assert_eq!(counters["table_full"], verdicts.len() as u64, "{counters:?}");
    let flows = world.flows().unwrap();
    let keys: Vec<_> = flows.iter().map(|(key, _)| *key).collect();
    for (key, entry) in &flows {
        assert!(keys.contains(&entry.pair_key(key)), "an orphan: {key:?} in {keys:#?}");
    }
    assert_eq!(flows.len() as u64, 2 * counters["births"], "{keys:#?} {counters:?}");
}

#[test]
fn invariant_3_a_birth_is_exactly_one_pair() {
    let world = World::new(Setup { ports: (5000, 5999), ..Setup::default() }).unwrap();
    for port in 1..=10 {
        let packet = Packet::udp(SocketAddrV4::new(client_addr(0), port), server()).macs(CLIENT_MAC, IN_MAC);
        assert_eq!(world.run(Arrives::Inside, &packet.build()).unwrap().0, Verdict::Redirect);
        let flows = world.flows().unwrap();
        let keys: Vec<_> = flows.iter().map(|(key, _)| *key).collect();
        assert_eq!(flows.len(), 2 * usize::from(port), "after {port} births: {keys:#?}");
    }
}

#[test]
fn an_expired_flow_is_not_translated_and_is_revived_from_inside_only() {
    let timeouts = Timeouts { udp_unreplied: 50, udp: 50, tcp_new: 50, ..Timeouts::RFC }.with_shortest();
    let world = World::new(Setup { timeouts, ..Setup::default() }).unwrap();
    check("alive", &world, vec![opens(ask()), comes_back(answer(), 443, &[("established", 1)])]);
    // A deadline is a point in time: there is nothing to poll for.
    std::thread::sleep(std::time::Duration::from_millis(100));
    let becomes = translated_out(&ask());
    check(
        "expired",
        &world,
        vec![
            dropped_outside(answer(), "expired"),
            step(
                Arrives::Inside,
                ask(),
                Verdict::Redirect,
                Some(becomes),
                &[&OUT, &[("attempts", 1), ("revivals", 1)]],
            ),
            comes_back(answer(), 443, &[("established", 1)]),
        ],
    );
}

#[test]
fn one_armed_sends_back_out_of_the_same_interface() {
    let out = translated_out(&ask()).macs(IN_MAC, ROUTER_MAC);
    run(
        "one-armed",
        Setup { one_armed: true, ..Setup::default() },
        vec![
            step(Arrives::OneArm, ask(), Verdict::Tx, Some(out), &[&OUT, &BORN]),
            step(
                Arrives::OneArm,
                answer(),
                Verdict::Tx,
                Some(translated_in(&answer(), 443)),
                &[&IN, &[("established", 1)]],
            ),
            step(
                Arrives::OneArm,
                Packet::udp(SocketAddrV4::new(SRV_B, 1), outside()),
                Verdict::Drop,
                None,
                &[&[("destination_in", 1), ("unsolicited_inbound", 1)]],
            ),
        ],
    );
}

#[test]
fn a_shared_eip_leaves_the_host_what_it_has_sockets_for() {
    let setup = Setup { eips: vec![GW_OUTSIDE], shared: true, ..Setup::default() };
    let world = World::new(setup).unwrap();
    let _ssh = world.gw().run(|| std::net::TcpListener::bind("0.0.0.0:22").unwrap());
    let _dns = world.gw().run(|| std::net::UdpSocket::bind("0.0.0.0:53").unwrap());
    let to = |port| SocketAddrV4::new(GW_OUTSIDE, port);
    check(
        "shared",
        &world,
        vec![
            passes(Arrives::Outside, Packet::tcp(server(), to(22), flags::SYN)),
            passes(Arrives::Outside, Packet::udp(server(), to(53))),
            dropped_outside(Packet::tcp(server(), to(23), flags::SYN), "unsolicited_inbound"),
            dropped_outside(Packet::udp(server(), to(54)), "unsolicited_inbound"),
            dropped_outside(Packet::echo_request(SRV_A, GW_OUTSIDE, 1), "unsolicited_inbound"),
        ],
    );
}

/// Verified instructions a program may take. The kernel's own limit is a million; these are what was measured
/// and a fifth more, so that growth is noticed.
const BUDGET: [(&str, u32); 6] = [
    ("xdp_inside", 125_000),
    ("xdp_outside", 28_000),
    ("xdp_onearm", 146_000),
    ("reaper", 2_500),
    ("guard_egress", 200),
    ("guard_ingress", 200),
];

#[test]
fn verifier_budget() {
    let mut world = World::new(Setup::default()).unwrap();
    let sizes = world.sizes().unwrap();
    println!("{:<14} {:>9} {:>9} {:>8}", "program", "verified", "budget", "machine");
    for (name, budget) in BUDGET {
        let (_, verified, jitted) =
            sizes.iter().find(|(n, ..)| n == name).unwrap_or_else(|| panic!("no {name}"));
        println!("{name:<14} {verified:>9} {budget:>9} {jitted:>6} B");
        assert!(*verified <= budget, "{name}: {verified} verified instructions, budget {budget}");
        assert!(*verified > 0, "{name}: the kernel did not say");
    }
}
