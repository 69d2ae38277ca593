//! The ICMP errors that natgw owes, and builds itself: the kernel is never asked to answer for it (invariant 9).

use std::net::Ipv4Addr;

use nat_tests::lab::raw::label;
use nat_tests::lab::tap::{Direction, Tap};
use nat_tests::lab::{GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, Topology, WAN, client_addr, eip};
use nat_tests::packet::{ETH, IPV4, Packet, Parsed, flags};

use super::wire::{GHOST, Wire};
use super::{PATIENCE, assert_none, at, config};

/// As much as fits a datagram that every host must take (RFC 1812 4.3.2.3).
const QUOTE: usize = 576 - 20 - 8;

/// What an error must be.
struct Owed<'a> {
    from: Ipv4Addr,
    to: Ipv4Addr,
    icmp: (u8, u8),
    mtu: u16,
    about: &'a [u8],
}

/// Waits for the error on a wire and holds every field of it against what is owed.
fn assert_owed(tap: &Tap, owed: &Owed<'_>) {
    let is_error = |p: &Parsed, d| d == Direction::Received && p.dst == owed.to && p.icmp == Some(owed.icmp);
    let name = format!("ICMP {}/{} from {} to {}", owed.icmp.0, owed.icmp.1, owed.from, owed.to);
    let got = tap.wait_for(PATIENCE, is_error).unwrap_or_else(|| panic!("no {name}: {:#?}", tap.frames()));
    assert_eq!((got.src, got.ttl), (owed.from, 64), "{name}: source and TTL: {got}");
    assert!(got.checksums_ok(), "{name}: checksums: {got}");
    let sent = &owed.about[ETH..];
    assert_eq!(got.payload, sent[..sent.len().min(QUOTE)], "{name}: quotes the packet as its sender sent it");
    let frames = tap.frames();
    let frame = frames
        .iter()
        .find(|f| f.direction == Direction::Received && f.parsed().is_some_and(|p| p == got))
        .expect("its frame");
    assert_eq!(frame.bytes[38..40], [0, 0], "{name}: unused");
    assert_eq!(u16::from_be_bytes([frame.bytes[40], frame.bytes[41]]), owed.mtu, "{name}: MTU");
}

fn icmp_sent(lab: &Lab) -> u64 {
    lab.gw().counter("Icmp", "OutMsgs").unwrap()
}

fn answers(gateway: &Gateway<'_>, kind: &str) -> u64 {
    let stats = gateway.stats().unwrap();
    stats["answers"][kind].as_u64().unwrap_or_else(|| panic!("no answers.{kind} in {stats:#}"))
}

fn all_four_errors(topology: Topology, options: &Options, large: usize) {
    let inside_mtu = topology.inside_mtu;
    let outside_mtu = topology.outside_mtu;
    let lab = Lab::start(topology).unwrap();
    let gateway = Gateway::start(&lab, options).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.udp(5000);
    let kernel = icmp_sent(&lab);
    let (client, ghost) = (at(client_addr(0), 5000), at(GHOST, 53));
    let out = |p: Packet, name: &str| p.payload(label(name));

    for (name, packet) in [
        ("udp", Packet::udp(client, ghost)),
        ("a new flow's", Packet::udp(at(client_addr(0), 5001), ghost)),
        ("syn", Packet::tcp(at(client_addr(0), 5002), at(GHOST, 80), flags::SYN)),
        ("ping", Packet::echo_request(client_addr(0), GHOST, 77)),
        ("more than is quoted", Packet::udp(client, ghost).payload(vec![7; 1200])),
        ("with options", Packet::udp(client, ghost).with(|p| p.options = vec![148, 4, 0, 0])),
    ] {
        let packet = if packet.payload.len() < 100 { out(packet, name) } else { packet }.ttl(1);
        let about = wire.client.frame(packet.clone());
        wire.watch.clear();
        wire.client.send(packet).unwrap();
        let owed = Owed { from: GW_INSIDE, to: client_addr(0), icmp: (11, 0), mtu: 0, about: &about };
        assert_owed(&wire.watch.inside, &owed);
    }
    let expired = Packet::udp(ghost, end).ttl(1).payload(label("inbound"));
    let about = wire.server.frame(expired.clone());
    wire.server.send(expired).unwrap();
    let owed = Owed { from: GW_OUTSIDE, to: GHOST, icmp: (11, 0), mtu: 0, about: &about };
    assert_owed(&wire.watch.outside, &owed);
    assert_eq!(answers(&gateway, "time_exceeded"), 7);

    if outside_mtu < inside_mtu {
        let packet = Packet::udp(client, ghost).payload(vec![1; large]);
        let about = wire.client.frame(packet.clone());
        wire.client.send(packet).unwrap();
        let owed =
            Owed { from: GW_INSIDE, to: client_addr(0), icmp: (3, 4), mtu: outside_mtu, about: &about };
        assert_owed(&wire.watch.inside, &owed);
        assert_eq!(answers(&gateway, "too_big"), 1);
    }
    if inside_mtu < outside_mtu {
        let packet = Packet::udp(ghost, end).payload(vec![2; large]);
        let about = wire.server.frame(packet.clone());
        wire.server.send(packet).unwrap();
        let owed = Owed { from: GW_OUTSIDE, to: GHOST, icmp: (3, 4), mtu: inside_mtu, about: &about };
        assert_owed(&wire.watch.outside, &owed);
        assert_eq!(answers(&gateway, "too_big"), 1);
    }
    wire.watch.settle();
    assert_eq!(icmp_sent(&lab), kernel, "the host's own ICMP had nothing to say");
    assert_eq!(answers(&gateway, "limited"), 0);
    assert!(
        gateway.flows(&["--sport", "5001"]).unwrap().is_empty(),
        "no flow for a packet that was not forwarded"
    );
}

#[test]
fn errors_are_natgws_own_with_a_small_way_out() {
    let topology = Topology { outside_mtu: 1400, ..Topology::default() };
    all_four_errors(topology, &Options::one_eip(), 1400);
}

#[test]
fn errors_are_natgws_own_with_a_small_way_in() {
    let topology = Topology { inside_mtu: 1400, ..Topology::default() };
    all_four_errors(topology, &Options::one_eip(), 1400);
}

#[test]
fn errors_are_natgws_own_with_generic_xdp() {
    let topology = Topology { outside_mtu: 1400, ..Topology::default() };
    all_four_errors(topology, &Options::one_eip().arg("--xdp").arg("generic"), 1400);
}

#[test]
fn errors_are_natgws_own_with_jumbo_frames() {
    let topology = Topology { inside_mtu: 9000, ..Topology::default() };
    all_four_errors(topology, &Options::one_eip(), 8900);
}

#[test]
fn errors_are_natgws_own_one_armed() {
    all_four_errors(Topology::one_armed(1), &Options::one_eip(), 1400);
}

/// The route's own `mtu`, locked or not, is the administrator's word about the way; the link's is the other bound.
#[test]
fn errors_name_the_mtu_of_the_route() {
    for lock in ["", "lock "] {
        let lab = Lab::two_armed(1).unwrap();
        lab.gw().ip(&format!("route add {GHOST}/32 via {WAN} mtu {lock}1300")).unwrap();
        let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
        let wire = Wire::open(&lab);
        wire.udp(5000);
        let kernel = icmp_sent(&lab);
        let (client, ghost) = (at(client_addr(0), 5000), at(GHOST, 53));
        let packet = Packet::udp(client, ghost).payload(vec![1; 1300]);
        let about = wire.client.frame(packet.clone());
        wire.client.send(packet).unwrap();
        let owed = Owed { from: GW_INSIDE, to: client_addr(0), icmp: (3, 4), mtu: 1300, about: &about };
        assert_owed(&wire.watch.inside, &owed);
        // What fits goes.
        let fits = Packet::udp(client, ghost).payload(vec![1; 1300 - 28]);
        wire.out(fits, PATIENCE).expect("a packet of 1300 bytes");
        assert_eq!((icmp_sent(&lab), answers(&gateway, "too_big")), (kernel, 1), "mtu {lock}1300");
    }
}

/// RFC 1122 3.2.2: never about an ICMP error, a later fragment, nor what went to a group. A control today, where the
/// kernel keeps the rule; natgw, which answers from now on, must too.
#[test]
fn some_packets_are_owed_no_error() {
    let lab = Lab::start(Topology { outside_mtu: 1400, ..Topology::default() }).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.udp(5000);
    wire.watch.clear();
    let (client, ghost) = (at(client_addr(0), 5000), at(GHOST, 53));
    let about = Packet::udp(ghost, client).build()[ETH..ETH + IPV4 + 8].to_vec();
    for ttl in [0, 1, 64] {
        let big = if ttl == 64 { 1400 } else { 60 };
        let unreachable = Packet::icmp(client_addr(0), GHOST, 3, 3, [0; 4]);
        let group = Ipv4Addr::new(224, 0, 0, 251);
        for packet in [
            unreachable.with(|p| p.payload = [&about[..], &vec![0; big]].concat()),
            Packet::icmp(client_addr(0), GHOST, 11, 0, [0; 4]).payload(vec![0; big]),
            Packet::udp(client, ghost).with(|p| (p.offset, p.df) = (10, ttl == 64)).payload(vec![0; big]),
            Packet::udp(client, at(group, 5353))
                .payload(vec![0; big])
                .with(|p| p.dmac = [1, 0, 0x5e, 0, 0, 251]),
            Packet::udp(client, at(Ipv4Addr::BROADCAST, 67))
                .payload(vec![0; big])
                .with(|p| p.dmac = [0xff; 6]),
            Packet::udp(client, ghost).payload(vec![0; big]).with(|p| p.dmac = [0xff; 6]),
            Packet::udp(client, ghost).payload(vec![0; big]).with(|p| p.dmac = [1, 0, 0x5e, 0, 0, 1]),
            Packet::udp(at(Ipv4Addr::UNSPECIFIED, 5000), ghost).payload(vec![0; big]),
            Packet::udp(at(Ipv4Addr::BROADCAST, 5000), ghost).payload(vec![0; big]),
            Packet::udp(at([10, 0, 0, 255].into(), 5000), ghost).payload(vec![0; big]),
            Packet::udp(at(group, 5000), ghost).payload(vec![0; big]),
        ] {
            wire.client.send(packet.ttl(ttl)).unwrap();
        }
        // Not a live flow's: no answer to a scan, whatever its TTL and size.
        for dst in [at(eip(0), end.port() ^ 1), at(client_addr(0), 5000), at(GW_OUTSIDE, 9)] {
            wire.server.send(Packet::udp(ghost, dst).ttl(ttl).payload(vec![0; big.min(1300)])).unwrap();
        }
        wire.server
            .send(Packet::udp(ghost, end).ttl(ttl.min(1)).with(|p| (p.offset, p.df) = (10, false)))
            .unwrap();
        let mac = |p: &mut Packet| p.dmac = [0xff; 6];
        wire.server.send(Packet::udp(ghost, end).ttl(ttl.min(1)).with(mac)).unwrap();
    }
    wire.watch.settle();
    let is_error = |p: &Parsed, d| d == Direction::Received && p.icmp.is_some_and(|i| i.0 == 3 || i.0 == 11);
    // The gateway's own port unreachable to GHOST is the host's business; everything else here is natgw's.
    let own = |p: &&Parsed| !(p.src == GW_OUTSIDE && p.icmp == Some((3, 3)));
    for tap in [&wire.watch.inside, &wire.watch.outside] {
        assert_none("errors", tap.find(is_error).iter().filter(own).map(ToString::to_string));
    }
}

/// Invariant 8: errors come from one bucket per CPU.
#[test]
fn errors_are_rate_limited() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &config("answers_per_second = 5", &[eip(0)])).unwrap();
    let wire = Wire::open(&lab);
    for port in 1..=100 {
        wire.client.send(Packet::udp(at(client_addr(0), 5000 + port), at(GHOST, 53)).ttl(1)).unwrap();
    }
    wire.watch.settle();
    let is_error = |p: &Parsed, d| d == Direction::Received && p.icmp == Some((11, 0));
    let came = wire.watch.inside.find(is_error).len() as u64;
    // Five a second on each CPU that the frames came by, and the burst may lie across a second's end.
    assert!((1..=20).contains(&came), "{came} errors about 100 packets");
    assert_eq!((answers(&gateway, "time_exceeded"), answers(&gateway, "limited")), (came, 100 - came));
}

/// What people use: `traceroute`, `tracepath`, `ping -M do`.
#[test]
fn real_tools_see_the_gateway() {
    let lab = Lab::start(Topology { outside_mtu: 1400, ..Topology::default() }).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let kernel = icmp_sent(&lab);
    let (server, client) = (SRV_A.to_string(), lab.client(0));
    for method in [&["-n"][..], &["-n", "-I"], &["-n", "-T", "-p", "80"]] {
        let args = [method, &["-q", "2", "-m", "1", "-w", "1", &server]].concat();
        let said = client.output("traceroute", &args).unwrap();
        let hop = said.lines().nth(1).unwrap_or_default();
        assert!(hop.contains("10.0.0.1") && !hop.contains('*'), "traceroute {method:?}: {said}");
    }
    let said = client.output("tracepath", &["-n", "-m", "2", &server]).unwrap();
    assert!(said.contains("10.0.0.1") && said.contains("pmtu 1400"), "{said}");
    client.ip("route flush cache").unwrap();
    let out =
        client.command("ping").args(["-n", "-c", "1", "-W", "1", "-M", "do", "-s", "1450", &server]).output();
    let said = String::from_utf8_lossy(&out.unwrap().stdout).into_owned();
    assert!(said.contains("mtu = 1400") || said.contains("mtu=1400"), "{said}");
    assert_eq!(icmp_sent(&lab), kernel, "the host's own ICMP had nothing to say");
    assert!(answers(&gateway, "time_exceeded") >= 6 && answers(&gateway, "too_big") >= 1);
}

/// A frame too big for the way out that may be fragmented is still handed over, and comes out whole.
#[test]
fn what_may_be_fragmented_is_fragmented() {
    let lab = Lab::start(Topology { outside_mtu: 1400, ..Topology::default() }).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    wire.udp(5000);
    wire.watch.clear();
    let packet = Packet::udp(at(client_addr(0), 5000), at(GHOST, 53)).payload(vec![3; 1400]);
    wire.client.send(packet.with(|p| p.df = false)).unwrap();
    let fragment = |p: &Parsed, d| d == Direction::Received && p.dst == GHOST && p.fragment;
    nat_tests::lab::wait_until("two fragments", PATIENCE, || wire.watch.outside.find(fragment).len() == 2);
    assert!(gateway.stats().unwrap()["internals"]["handovers"].as_u64().unwrap() >= 1);
}
