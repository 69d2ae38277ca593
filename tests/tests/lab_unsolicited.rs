//! Nobody outside reaches the inside, or learns that there is one.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, Injector, Tap, mac_of};
use nat_tests::lab::{EVIL, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, client_addr, clients, eip, wait_until};
use nat_tests::packet::{Packet, flags};

const PATIENCE: Duration = Duration::from_secs(10);
const COMMON_UDP: [u16; 18] =
    [7, 53, 67, 69, 111, 123, 137, 161, 389, 443, 500, 514, 520, 1194, 1900, 4500, 5060, 5353];

/// Sends frames onto the outside wire as a neighbour of the gateway could.
struct Neighbour {
    injector: Injector,
    smac: [u8; 6],
    dmac: [u8; 6],
}

impl Neighbour {
    fn new(lab: &Lab) -> Self {
        let wan = lab.node("wan");
        Self {
            injector: Injector::open(wan, "gw0").unwrap(),
            smac: mac_of(wan, "gw0").unwrap(),
            dmac: mac_of(lab.gw(), "out0").unwrap(),
        }
    }

    fn send(&self, packet: Packet) {
        self.injector.send(&packet.macs(self.smac, self.dmac).build()).unwrap();
    }
}

fn from_evil(to: Ipv4Addr, port: u16) -> (SocketAddrV4, SocketAddrV4) {
    (SocketAddrV4::new(EVIL, 40_000), SocketAddrV4::new(to, port))
}

/// What the gateway sent towards the scanner, and what reached the inside from it.
fn silence(outside: &Tap, inside: &Tap) {
    let answers = outside.find(|p, d| d == Direction::Received && p.dst == EVIL);
    assert!(answers.is_empty(), "{} answers, e.g. {}", answers.len(), answers[0]);
    let reached = inside.find(|p, _| p.src == EVIL);
    assert!(reached.is_empty(), "{} reached the inside, e.g. {}", reached.len(), reached[0]);
}

#[test]
fn t4_a_scan_of_every_tcp_port_and_the_common_udp_ports_gets_no_answer_and_makes_no_flow() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    let flows = gateway.flows(&[]).unwrap().len();
    let (outside, inside) = (lab.outside_tap().unwrap(), lab.inside_tap().unwrap());
    let neighbour = Neighbour::new(&lab);
    let before = gateway.drops("unsolicited_inbound").unwrap();
    for port in 1..=u16::MAX {
        let (src, dst) = from_evil(eip(0), port);
        neighbour.send(Packet::tcp(src, dst, flags::SYN));
        // The receiver's ring holds some hundreds of frames; a scan need not overrun it.
        if port % 128 == 0 {
            let due = before + u64::from(port) * 9 / 10;
            if port % 8192 == 0 {
                wait_until("the scan to be seen", PATIENCE, || {
                    gateway.drops("unsolicited_inbound").unwrap() >= due
                });
            } else {
                std::thread::yield_now();
            }
        }
    }
    for port in COMMON_UDP {
        let (src, dst) = from_evil(eip(0), port);
        neighbour.send(Packet::udp(src, dst));
    }
    neighbour.send(Packet::echo_request(EVIL, eip(0), 1));
    let sent = 65_535 + COMMON_UDP.len() as u64 + 1;
    wait_until("every probe to be dropped and counted", PATIENCE, || {
        gateway.drops("unsolicited_inbound").unwrap() - before == sent
    });
    silence(&outside, &inside);
    assert_eq!(outside.lost().unwrap(), 0, "the tap saw everything");
    assert_eq!(gateway.flows(&[]).unwrap().len(), flows, "no flow was made");
}

#[test]
fn t4_tcp_segments_of_every_kind_are_silently_dropped() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let (outside, inside) = (lab.outside_tap().unwrap(), lab.inside_tap().unwrap());
    let neighbour = Neighbour::new(&lab);
    for bits in 0..64 {
        let (src, dst) = from_evil(eip(0), 2000 + u16::from(bits));
        neighbour.send(Packet::tcp(src, dst, bits));
    }
    wait_until("64 drops", PATIENCE, || gateway.drops("unsolicited_inbound").unwrap() == 64);
    silence(&outside, &inside);
}

#[test]
fn b2_an_outside_neighbour_cannot_route_into_the_inside() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _inside_service = Server::udp_echo(lab.client(0), any(53)).unwrap();
    let (outside, inside) = (lab.outside_tap().unwrap(), lab.inside_tap().unwrap());
    let neighbour = Neighbour::new(&lab);
    let (src, dst) = from_evil(client_addr(0), 53);
    neighbour.send(Packet::udp(src, dst));
    neighbour.send(Packet::tcp(src, dst, flags::SYN));
    neighbour.send(Packet::echo_request(EVIL, client_addr(0), 9));
    let drops = || -> u64 {
        let stats = gateway.stats().unwrap();
        stats["drops"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum()
    };
    wait_until("three drops", PATIENCE, || drops() >= 3);
    silence(&outside, &inside);
}

#[test]
fn packets_forged_on_the_wrong_side_are_dropped_as_spoofed() {
    let lab = Lab::two_armed(2).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let seen = clients::ask_udp(lab.client(0), 5000, SocketAddrV4::new(SRV_A, 53)).unwrap();
    let (outside, inside) = (lab.outside_tap().unwrap(), lab.inside_tap().unwrap());

    // Outside: the flow's own inside tuple, with the client's address as source.
    let client = SocketAddrV4::new(client_addr(0), 5000);
    Neighbour::new(&lab).send(Packet::udp(client, SocketAddrV4::new(SRV_A, 53)));
    // Inside: the server's answer, forged by another client.
    let liar = lab.client(1);
    let injector = Injector::open(liar, "eth0").unwrap();
    let macs = (mac_of(liar, "eth0").unwrap(), mac_of(lab.gw(), "in0").unwrap());
    injector.send(&Packet::udp(SocketAddrV4::new(SRV_A, 53), seen).macs(macs.0, macs.1).build()).unwrap();
    injector
        .send(
            &Packet::udp(SocketAddrV4::new(eip(0), 99), SocketAddrV4::new(SRV_A, 53))
                .macs(macs.0, macs.1)
                .build(),
        )
        .unwrap();

    // No pool serves the forged answer's source, which is reason enough.
    wait_until("three drops", PATIENCE, || gateway.drops("spoofed_source").unwrap() == 3);
    let out = outside.find(|_, d| d == Direction::Received);
    assert!(out.is_empty(), "forged packets went out: {}", out[0]);
    let into = inside.find(|_, d| d == Direction::Received);
    assert!(into.is_empty(), "forged packets went in: {}", into[0]);
}

#[test]
fn a_shared_eip_answers_only_where_the_host_has_a_socket() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway =
        Gateway::start(&lab, &Options { eips: vec![GW_OUTSIDE.to_string()], ..Options::default() }).unwrap();
    let ssh = Server::tcp_echo(lab.gw(), any(22)).unwrap();
    let web = Server::tcp_echo(lab.node("srv-a"), any(80)).unwrap();

    let (mut in_from_outside, _) =
        clients::connect_tcp(lab.node("evil"), 0, SocketAddrV4::new(GW_OUTSIDE, 22)).unwrap();
    clients::echo(&mut in_from_outside, b"a login from outside").unwrap();
    assert_eq!(ssh.seen().len(), 1);

    let (outside, inside) = (lab.outside_tap().unwrap(), lab.inside_tap().unwrap());
    let neighbour = Neighbour::new(&lab);
    for port in [21, 23, 80, 5000] {
        let (src, dst) = from_evil(GW_OUTSIDE, port);
        neighbour.send(Packet::tcp(src, dst, flags::SYN));
        neighbour.send(Packet::udp(src, dst));
    }
    wait_until("eight drops", PATIENCE, || gateway.drops("unsolicited_inbound").unwrap() == 8);
    silence(&outside, &inside);

    let (mut own, seen) = clients::connect_tcp(lab.gw(), 0, SocketAddrV4::new(SRV_A, 80)).unwrap();
    clients::echo(&mut own, b"the gateway's own traffic").unwrap();
    assert_eq!(*seen.ip(), GW_OUTSIDE);
    let ephemeral = lab.gw().read_sysctl("net.ipv4.ip_local_port_range").unwrap();
    let mut range = ephemeral.split_whitespace().map(|n| n.parse::<u16>().unwrap());
    let range = range.next().unwrap()..=range.next().unwrap();
    let mut held = Vec::new();
    for _ in 0..200 {
        let (stream, seen) = clients::connect_tcp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 80)).unwrap();
        assert_eq!(*seen.ip(), GW_OUTSIDE);
        assert!(!range.contains(&seen.port()), "{seen} is a port that the host may use");
        held.push(stream);
    }
    clients::echo(&mut in_from_outside, b"still there").unwrap();
    clients::echo(&mut own, b"still there").unwrap();
    assert_eq!(web.seen().len(), 201);
}
