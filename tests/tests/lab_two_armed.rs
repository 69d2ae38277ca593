//! The everyday case: clients on one interface, the internet on the other.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::SocketAddrV4;
use std::time::Duration;

use nat_tests::lab::servers::{DOWNLOAD, Server, any};
use nat_tests::lab::tap::{Direction, Injector, mac_of};
use nat_tests::lab::{
    Gateway, Lab, Options, SRV_A, SRV_B, Topology, WAN, client_addr, clients, eip, wait_until,
};
use nat_tests::packet::{Packet, Parsed};

const SECOND: Duration = Duration::from_secs(1);

/// Sends a packet from the client's wire and returns it as the outside tap saw it.
fn translate(lab: &Lab, packet: Packet) -> Parsed {
    let outside = lab.outside_tap().unwrap();
    let client = lab.client(0);
    let frame = packet.macs(mac_of(client, "eth0").unwrap(), mac_of(lab.gw(), "in0").unwrap()).build();
    Injector::open(client, "eth0").unwrap().send(&frame).unwrap();
    outside
        .wait_for(3 * SECOND, |p, d| d == Direction::Received && p.src == eip(0))
        .unwrap_or_else(|| panic!("nothing came out; on the wire: {:#?}", outside.frames()))
}

fn client_port(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(client_addr(0), port)
}

#[test]
fn http_udp_and_ping_reach_the_servers_which_see_only_the_eip() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let dns = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    let outside = lab.outside_tap().unwrap();

    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
    let seen = clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_B, 53)).unwrap();
    assert_eq!(*seen.ip(), eip(0));
    assert_eq!(clients::ping(lab.client(0), SRV_A, 5, &[]).unwrap(), 5);
    for peer in http.seen().iter().chain(&dns.seen()) {
        assert_eq!(*peer.ip(), eip(0));
        assert!(peer.port() >= 1024, "{peer}");
    }
    assert_eq!(lab.checksum_errors().unwrap(), 0, "B1: the receiving kernels verify");
    assert!(outside.find(|p, d| d == Direction::Received && p.src != eip(0)).is_empty());

    let flows = gateway.flows(&["--proto", "udp"]).unwrap();
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!(flows[0]["eip"], seen.to_string());
    assert_eq!(flows[0]["remote"], format!("{SRV_B}:53"));
    assert_eq!(flows[0]["state"], "replied");
    let stats = gateway.stats().unwrap();
    let packets = |side: &str| stats["packets"][side].as_u64().unwrap();
    assert_eq!(packets("source_in"), packets("destination_out"), "{stats:#}");
    assert_eq!(packets("destination_in"), packets("source_out"), "{stats:#}");
    assert!(stats["bytes"]["destination_in"].as_u64().unwrap() > DOWNLOAD);
    assert_eq!(
        stats["drops"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum::<u64>(),
        0
    );
}

#[test]
fn b3_ttl_is_one_less_and_dscp_and_ecn_are_kept() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let packet =
        Packet::udp(client_port(4000), SocketAddrV4::new(SRV_A, 9)).ttl(64).tos(0xb9).payload("precious");
    let out = translate(&lab, packet);
    assert_eq!((out.ttl, out.tos), (63, 0xb9));
    assert_eq!(out.payload, b"precious");
    assert!(out.checksums_ok(), "{out}");
}

#[test]
fn b1_udp_without_a_checksum_stays_without() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let answers = lab.inside_tap().unwrap();
    let packet =
        Packet::udp(client_port(4000), SocketAddrV4::new(SRV_A, 53)).with(|p| p.spoil.l4_checksum = Some(0));
    let out = translate(&lab, packet);
    assert_eq!(out.l4_checksum, Some(0));
    let answer = answers.wait_for(3 * SECOND, |p, d| d == Direction::Received && p.src == SRV_A).unwrap();
    assert_eq!(answer.destination(), client_port(4000), "the server understood it");
}

#[test]
fn ipv4_options_are_delivered() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    // Router alert (RFC 2113) and padding.
    let options = vec![0x94, 0x04, 0x00, 0x00, 0x01, 0x01, 0x01, 0x00];
    let packet =
        Packet::udp(client_port(4000), SocketAddrV4::new(SRV_A, 9)).with(|p| p.options.clone_from(&options));
    let out = translate(&lab, packet);
    assert_eq!(out.options, options);
    assert!(out.checksums_ok(), "{out}");
}

#[test]
fn i1_two_clients_with_the_same_ping_identifier_both_get_replies() {
    let lab = Lab::two_armed(2).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    std::thread::scope(|s| {
        let pings = [0, 1].map(|n| {
            let client = lab.client(n);
            s.spawn(move || clients::ping(client, SRV_A, 5, &["-e", "7"]).unwrap())
        });
        for ping in pings {
            assert_eq!(ping.join().unwrap(), 5);
        }
    });
    assert_eq!(gateway.flows(&["--proto", "icmp"]).unwrap().len(), 2);
}

#[test]
fn protocols_that_cannot_be_translated_are_dropped_not_forwarded() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let outside = lab.outside_tap().unwrap();
    let client = lab.client(0);
    let injector = Injector::open(client, "eth0").unwrap();
    let (smac, dmac) = (mac_of(client, "eth0").unwrap(), mac_of(lab.gw(), "in0").unwrap());
    for proto in [2, 4, 41, 47, 50, 51, 132, 136, 255] {
        injector.send(&Packet::raw(client_addr(0), SRV_A, proto).macs(smac, dmac).build()).unwrap();
    }
    wait_until("nine drops", 3 * SECOND, || gateway.drops("unsupported_proto").unwrap() == 9);
    assert!(outside.find(|p, _| p.dst == SRV_A).is_empty(), "{:#?}", outside.frames());
}

#[test]
fn several_inside_and_outside_interfaces() {
    let topology = Topology { second_inside: true, second_outside: true, ..Default::default() };
    let lab = Lab::start(topology).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip_on_any_link(lab.topology())).unwrap();
    let _a = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let _b = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    for client in [lab.client(0), lab.node("cli-z")] {
        for server in [SRV_A, SRV_B] {
            let seen = clients::ask_udp(client, 0, SocketAddrV4::new(server, 53)).unwrap();
            assert_eq!(*seen.ip(), eip(0));
        }
    }
}

/// Frames larger than a page arrive in fragments of memory, which only a frags-aware program is shown at all.
#[test]
fn jumbo_frames_pass() {
    let topology = Topology { inside_mtu: 9000, outside_mtu: 9000, ..Topology::default() };
    let lab = Lab::start(topology).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let http = Server::http(lab.node("wan"), any(80)).unwrap();
    assert_eq!(clients::ping(lab.client(0), WAN, 3, &["-M", "do", "-s", "8000"]).unwrap(), 3);
    let sum = clients::download(lab.client(0), &format!("http://{WAN}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
    assert!(http.seen().iter().all(|peer| *peer.ip() == eip(0)));
    assert_eq!(lab.checksum_errors().unwrap(), 0);
}

#[test]
fn generic_mode_translates_too_and_is_reported() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip().arg("--xdp").arg("generic")).unwrap();
    let http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 3);
    assert!(http.seen().iter().all(|peer| *peer.ip() == eip(0)));
    assert!(gateway.say(&["status"]).unwrap().contains("generic"));
    assert_eq!(lab.checksum_errors().unwrap(), 0);
}

#[test]
fn the_packet_path_explains_itself_when_asked_to() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip().arg("--bpf-log")).unwrap();
    clients::ping(lab.client(0), SRV_A, 1, &[]).unwrap();
    wait_until("a birth in the log", 5 * SECOND, || gateway.log().contains("born: proto 1 10.0.0.10:"));
}
