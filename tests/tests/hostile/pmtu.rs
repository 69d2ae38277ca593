//! Forged "fragmentation needed": it makes the gateway's kernel believe in a small path MTU, and must make nobody else.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use nat_tests::lab::raw::{Raw, Watch};
use nat_tests::lab::servers::{SMALL, Server, any};
use nat_tests::lab::{
    GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, SRV_B, Topology, client_addr, clients, eip,
};
use nat_tests::packet::{ETH, Packet};

use super::at;

/// The victim: the second client.
const B: u8 = 1;

/// An ICMP 3/4 from an address that nobody has, to `gateway`, about an echo reply that it never sent to `victim`. It
/// needs no socket and no state (net/ipv4/icmp.c, `icmp_unreach`; route.c, `ipv4_update_pmtu`).
fn forged(gateway: Ipv4Addr, victim: Ipv4Addr) -> Packet {
    let reply = Packet::echo_reply(gateway, victim, 7).payload(b"abcdefgh").with(|p| {
        p.spoil.total_length = Some(1400);
    });
    let embedded = reply.build()[ETH..].to_vec();
    Packet::icmp([192, 0, 2, 99].into(), gateway, 3, 4, [0, 0, 0x02, 0x58]).payload(embedded)
}

/// What the victim does all day: a download of 3 MB from one server, and a megabyte to and from another.
fn the_victim_works(lab: &Lab, stream: &mut TcpStream) {
    let url = format!("http://{SRV_A}/3mb");
    let script = format!("curl -sS --fail --max-time 5 {url} | sha256sum");
    let sum = lab.client(usize::from(B)).output("sh", &["-c", &script]).unwrap();
    let wanted = clients::expected_sha256(SMALL).unwrap();
    assert_eq!(sum.split_whitespace().next(), Some(wanted.as_str()), "B's download of 3 MB");
    for _ in 0..16 {
        clients::echo(stream, &vec![0x5a; 65_536]).expect("B's upload to srv-b");
    }
}

fn forged_errors_blackhole_nobody(topology: Topology, options: &Options) {
    let lab = Lab::start(topology).unwrap();
    let gateway = Gateway::start(&lab, options).unwrap();
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-b"), any(7)).unwrap();
    let mut stream = clients::connect_tcp(lab.client(usize::from(B)), 0, at(SRV_B, 7)).unwrap().0;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    the_victim_works(&lab, &mut stream);
    let watch = Watch::start(&lab).unwrap();
    let (e, m) = (Raw::outside(&lab).unwrap(), Raw::inside(&lab).unwrap());
    for victim in [client_addr(B), SRV_A, SRV_B] {
        e.send(forged(GW_OUTSIDE, victim)).unwrap();
        m.send(forged(GW_INSIDE, victim)).unwrap();
        m.send(forged(GW_OUTSIDE, victim).with(|p| p.src = client_addr(0))).unwrap();
        m.send(forged(GW_INSIDE, victim).with(|p| p.src = client_addr(0))).unwrap();
        e.send(forged(eip(0), victim)).unwrap();
    }
    watch.settle();
    drop(watch);
    the_victim_works(&lab, &mut stream);
    assert_eq!(gateway.drops("mtu").unwrap(), 0, "{:#}", gateway.stats().unwrap());
    assert_eq!(
        gateway.stats().unwrap()["internals"]["handovers"].as_u64().unwrap_or(0) / 100,
        0,
        "natgw forwards"
    );
}

/// Invariant 9, and 8 of the victims: E to the gateway's own address, M to 10.0.0.1.
#[test]
fn a_forged_fragmentation_needed_blackholes_nobody() {
    forged_errors_blackhole_nobody(Topology { clients: 2, ..Topology::default() }, &Options::one_eip());
}

/// The same where the gateway's own address is a shared EIP.
#[test]
fn a_forged_fragmentation_needed_to_a_shared_eip_blackholes_nobody() {
    let options = Options { eips: vec![GW_OUTSIDE.to_string()], ..Options::default() };
    forged_errors_blackhole_nobody(Topology { clients: 2, ..Topology::default() }, &options);
}

/// The same on one wire.
#[test]
fn a_forged_fragmentation_needed_blackholes_nobody_one_armed() {
    forged_errors_blackhole_nobody(Topology::one_armed(2), &Options::one_eip());
}

/// What the host itself has learnt about a path is about its own packets: kernel forwarding ignores it too
/// (`ip_forward_use_pmtu`).
#[test]
fn a_genuine_path_mtu_of_the_host_changes_nothing_for_clients() {
    let lab = Lab::two_armed(2).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-b"), any(7)).unwrap();
    for (node, server) in [("srv-a", SRV_A), ("srv-b", SRV_B)] {
        lab.node("wan").ip(&format!("link set {node} mtu 1000")).unwrap();
        clients::ping(lab.gw(), server, 1, &["-M", "do", "-s", "1400"]).unwrap();
        lab.node("wan").ip(&format!("link set {node} mtu 1500")).unwrap();
        let route = lab.gw().output("ip", &["route", "get", &server.to_string()]).unwrap();
        assert!(route.contains("mtu 1000"), "the host has learnt nothing: {route}");
    }
    let mut stream = clients::connect_tcp(lab.client(usize::from(B)), 0, at(SRV_B, 7)).unwrap().0;
    stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
    the_victim_works(&lab, &mut stream);
    assert_eq!(gateway.drops("mtu").unwrap(), 0, "{:#}", gateway.stats().unwrap());
}
