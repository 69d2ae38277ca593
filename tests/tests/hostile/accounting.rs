//! Every frame that enters a managed interface ends in exactly one counter.

use std::net::Ipv4Addr;
use std::time::Duration;

use nat_tests::lab::gateway::xdp;
use nat_tests::lab::raw::{Raw, Tag, tagged};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, Tap};
use nat_tests::lab::{
    Arms, EVIL, GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, Topology, client_addr, eip, wait_until,
};
use nat_tests::packet::{ETH, Packet, flags};

use super::wire::{GHOST, Wire};
use super::{at, drops};

const CUT: &str = "cut in the tag";

/// How often each kind of frame is sent.
const TIMES: u16 = 40;

type Kind = (&'static str, Box<dyn Fn(&Raw, u16) -> Vec<u8>>);

/// A kind of packet, by number so that flows differ.
fn kind(name: &'static str, packet: impl Fn(u16) -> Packet + 'static) -> Kind {
    (name, Box::new(move |raw, n| raw.frame(packet(n))))
}

fn behind(name: &'static str, tags: &'static [Tag], packet: impl Fn(u16) -> Packet + 'static) -> Kind {
    (name, Box::new(move |raw, n| tagged(&raw.frame(packet(n)), tags)))
}

fn bytes(name: &'static str, make: impl Fn(Vec<u8>) -> Vec<u8> + 'static) -> Kind {
    (name, Box::new(move |raw, n| make(raw.frame(Packet::udp(at(client_addr(0), n), at(GHOST, n))))))
}

/// Kinds that only differ in what is wrong with them, from `src` to `dst`.
fn malformed(src: Ipv4Addr, dst: Ipv4Addr) -> Vec<Kind> {
    let udp = move |n: u16| Packet::udp(at(src, 9000 + n), at(dst, 53));
    let syn = move |n: u16| Packet::tcp(at(src, 9000 + n), at(dst, 53), flags::SYN);
    vec![
        kind("version 5", move |n| udp(n).with(|p| p.spoil.version = Some(5))),
        kind("header length 4", move |n| udp(n).with(|p| p.spoil.ihl = Some(4))),
        kind("header length 15", move |n| udp(n).with(|p| p.spoil.ihl = Some(15))),
        kind("total length too large", move |n| udp(n).with(|p| p.spoil.total_length = Some(4000))),
        kind("total length 0", move |n| udp(n).with(|p| p.spoil.total_length = Some(0))),
        kind("cut in the IP header", move |n| udp(n).with(|p| p.spoil.truncate = Some(30))),
        kind("cut in the TCP header", move |n| syn(n).with(|p| p.spoil.truncate = Some(40))),
        kind("TCP offset 1", move |n| syn(n).with(|p| p.spoil.tcp_offset = Some(1))),
        kind("TCP offset 15", move |n| syn(n).with(|p| p.spoil.tcp_offset = Some(15))),
        kind("UDP length 1", move |n| udp(n).with(|p| p.spoil.udp_length = Some(1))),
        kind("source route", move |n| udp(n).with(|p| p.options = vec![131, 7, 4, 10, 0, 0, 11, 0])),
        kind("first fragment", move |n| udp(n).with(|p| (p.df, p.mf) = (false, true))),
        kind("later fragment", move |n| udp(n).with(|p| (p.df, p.offset) = (false, 100))),
        kind("GRE", move |_| Packet::raw(src, dst, 47)),
        kind("ESP", move |_| Packet::raw(src, dst, 50)),
        kind("ICMP error", move |_| Packet::icmp(src, dst, 3, 3, [0; 4]).payload(vec![0x45; 28])),
        kind("ICMP timestamp", move |_| Packet::icmp(src, dst, 13, 0, [0; 4])),
        kind("echo reply", move |n| Packet::echo_reply(src, dst, n)),
        kind("ping", move |n| Packet::echo_request(src, dst, n)),
        kind("ACK", move |n| Packet::tcp(at(src, 9000 + n), at(dst, 81), flags::ACK)),
        kind("RST", move |n| Packet::tcp(at(src, 9000 + n), at(dst, 81), flags::RST)),
        kind("TTL 1", move |n| udp(n).ttl(1)),
        kind("TTL 0", move |n| udp(n).ttl(0)),
        kind("SYN with TTL 1", move |n| syn(n).ttl(1)),
        kind("to a group MAC", move |n| udp(n).with(|p| p.dmac = [1, 0, 0x5e, 0, 0, 1])),
        kind("to the broadcast MAC", move |n| udp(n).with(|p| p.dmac = [0xff; 6])),
        kind("to another station", move |n| udp(n).with(|p| p.dmac = [2, 0, 0, 0, 7, 7])),
        kind("broadcast", move |_| {
            Packet::udp(at(src, 9), at(Ipv4Addr::BROADCAST, 9)).with(|p| p.dmac = [0xff; 6])
        }),
        kind("multicast", move |_| {
            Packet::udp(at(src, 9), at([224, 0, 0, 251].into(), 9)).with(|p| p.dmac = [1, 0, 0x5e, 0, 0, 251])
        }),
        behind("one priority tag", &[(0x8100, 0)], udp),
        behind("two priority tags", &[(0x88a8, 0), (0x8100, 0)], udp),
        behind("five priority tags", &[(0x8100, 0); 5], udp),
        behind("twenty priority tags", &[(0x8100, 0); 20], udp),
        behind("VLAN 7", &[(0x8100, 7)], udp),
        behind("VLAN 7 in priority", &[(0x8100, 0), (0x8100, 7)], udp),
        bytes(CUT, |f| [&tagged(&f, &[(0x8100, 0)])[..16]].concat()),
        bytes("ARP", |f| [&f[..12], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 9], &[0; 40]].concat()),
        bytes("IPv6", |f| [&f[..12], &[0x86, 0xdd, 0x60, 0, 0, 0], &[0; 60]].concat()),
        bytes("LLDP", |f| [&[1, 0x80, 0xc2, 0, 0, 14], &f[6..12], &[0x88, 0xcc], &[0; 46]].concat()),
        bytes("IPv4 of no length", |f| f[..ETH].to_vec()),
    ]
}

fn from_inside() -> Vec<Kind> {
    let client = client_addr(0);
    let mut all = malformed(client, GHOST);
    let udp = |src, dst| move |n: u16| Packet::udp(at(src, 10_000 + n), at(dst, 53));
    all.extend([
        kind("a new flow", udp(client, GHOST)),
        kind("the same flows", udp(client, GHOST)),
        kind("a new connection", move |n| Packet::tcp(at(client, 11_000 + n), at(GHOST, 80), flags::SYN)),
        kind("too big, DF", move |n| udp(client, GHOST)(n).payload(vec![0; 1440])),
        kind("too big", move |n| udp(client, GHOST)(n).payload(vec![0; 1440]).with(|p| p.df = false)),
        kind("to a dedicated EIP", udp(client, eip(0))),
        kind("to a shared EIP", udp(client, GW_OUTSIDE)),
        kind("to the gateway", udp(client, GW_INSIDE)),
        kind("to a neighbour", udp(client, [10, 0, 0, 99].into())),
        kind("to an exempt place", udp(client, [198, 18, 0, 1].into())),
        kind("to link-local", udp(client, [169, 254, 1, 1].into())),
        kind("to class E", udp(client, [240, 0, 0, 1].into())),
        kind("to 0.0.0.0", udp(client, [0, 0, 0, 0].into())),
        kind("to loopback", udp(client, [127, 0, 0, 1].into())),
        kind("from an EIP", udp(eip(0), GHOST)),
        kind("from a shared EIP", udp(GW_OUTSIDE, GHOST)),
        kind("from the gateway", udp(GW_INSIDE, GHOST)),
        kind("from an EIP to an exempt place", udp(eip(0), [198, 18, 0, 1].into())),
        kind("from nobody's address", udp(EVIL, GHOST)),
        kind("from 0.0.0.0", udp([0, 0, 0, 0].into(), GHOST)),
        kind("from loopback", udp([127, 0, 0, 1].into(), GHOST)),
        kind("from a group", udp([224, 0, 0, 1].into(), GHOST)),
    ]);
    all
}

fn from_outside(end: u16, tcp_end: u16) -> Vec<Kind> {
    let mut all = malformed(EVIL, eip(0));
    all.extend(malformed(EVIL, GW_OUTSIDE));
    let udp = |src, dst| move |n: u16| Packet::udp(at(src, 10_000 + n), at(dst, 54));
    let answer = move |_| Packet::udp(at(GHOST, 53), at(eip(0), end));
    all.extend([
        kind("an answer", answer),
        kind("an answer with TTL 1", move |n| answer(n).ttl(1)),
        kind("an answer in fragments", move |n| answer(n).with(|p| (p.df, p.mf) = (false, true))),
        kind("a segment", move |_| Packet::tcp(at(GHOST, 80), at(eip(0), tcp_end), flags::ACK)),
        kind("a reset", move |_| Packet::tcp(at(GHOST, 80), at(eip(0), tcp_end), flags::RST)),
        behind("an answer behind a tag", &[(0x8100, 0)], answer),
        kind("to an open port", move |n| Packet::udp(at(EVIL, 10_000 + n), at(GW_OUTSIDE, 22))),
        kind("to an inside host", udp(EVIL, client_addr(0))),
        kind("to the gateway's inside", udp(EVIL, GW_INSIDE)),
        kind("to somebody else", udp(EVIL, [192, 0, 2, 200].into())),
        kind("to nowhere", udp(EVIL, [100, 64, 0, 1].into())),
        kind("from an inside host", udp(client_addr(0), GW_OUTSIDE)),
        kind("from an EIP", udp(eip(0), GW_OUTSIDE)),
        kind("from an exempt place", udp([198, 18, 0, 1].into(), client_addr(0))),
        kind("from an exempt place to the gateway", udp([198, 18, 0, 1].into(), GW_OUTSIDE)),
    ]);
    all
}

/// What natgw has accounted for: sent, dropped, or left to the host.
fn accounted(gateway: &Gateway<'_>) -> u64 {
    let stats = gateway.stats().unwrap();
    let packets = |meter: &str| stats["packets"][meter].as_u64().unwrap();
    packets("destination_out")
        + packets("source_out")
        + drops(&stats)
        + stats["internals"]["passed"].as_u64().unwrap()
}

fn every_frame_is_counted_once(topology: Topology, extra: &[&str]) {
    let lab = Lab::start(topology).unwrap();
    let mut options =
        Options { eips: vec![eip(0).to_string(), GW_OUTSIDE.to_string()], ..Options::default() };
    let words = ["--exempt", "198.18.0.0/15", "--timeout", "tcp_new=1s"];
    for word in words.iter().chain(extra) {
        options = options.arg(word);
    }
    // What is for there leaves natgw, and not the gateway: it would look like a leak.
    for host in ["cli-a", "gw"] {
        lab.node(host).ip("route add blackhole 198.18.0.0/15").unwrap();
    }
    let gateway = Gateway::start(&lab, &options).unwrap();
    let _ssh = Server::udp_echo(lab.gw(), any(22)).unwrap();
    let ports = match lab.topology().arms {
        Arms::Two => vec![("lan", "gw"), ("wan", "gw0")],
        Arms::One => vec![("lan", "gw")],
    };
    let taps: Vec<Tap> = ports.iter().map(|(node, port)| Tap::start(lab.node(node), port).unwrap()).collect();
    let entered = || -> u64 {
        let sent = |tap: &Tap| tap.frames().iter().filter(|f| f.direction == Direction::Sent).count() as u64;
        taps.iter().map(sent).sum()
    };
    let zero = accounted(&gateway);
    let wire = Wire::open(&lab);
    let (end, tcp_end) = (wire.udp(5000).port(), wire.handshake(5001).port());
    // One that is past its deadline when its turn comes.
    wire.out(Packet::tcp(at(client_addr(0), 5002), at(GHOST, 80), flags::SYN), super::PATIENCE).unwrap();
    let mut wrong = Vec::new();
    let sides =
        [(&wire.client, "inside", from_inside()), (&wire.server, "outside", from_outside(end, tcp_end))];
    let mut off_by = 0;
    for (raw, side, kinds) in sides {
        for (name, make) in kinds {
            // Before tc, the kernel drops a frame that it cannot take the tag off (net/core/dev.c, `__netif_receive_skb_core`).
            if name == CUT && xdp() == "tc" {
                continue;
            }
            for n in 0..TIMES {
                // A frame that the kernel does not let a host send is no frame.
                let _ = raw.send_frame(&make(raw, n));
            }
            wire.watch.fence();
            let difference = || i128::from(accounted(&gateway) - zero) - i128::from(entered());
            let begun = std::time::Instant::now();
            while difference() != off_by && begun.elapsed() < Duration::from_millis(300) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let now = difference();
            if now != off_by {
                wrong.push(format!("{TIMES} frames {name}, from {side}: counted {:+}", now - off_by));
                off_by = now;
            }
        }
    }
    let late = Packet::tcp(at(client_addr(0), 5002), at(GHOST, 80), flags::ACK);
    wire.client.send(late).unwrap();
    for tap in &taps {
        assert_eq!(tap.lost().unwrap(), 0, "the taps saw everything");
    }
    assert!(wrong.is_empty(), "more or fewer than entered: {wrong:#?}");
    wait_until("the sum to be right", super::PATIENCE, || accounted(&gateway) - zero == entered());
}

/// One counter for one frame, whatever it is: docs/packet-flow.md. A control, with its two siblings.
#[test]
fn every_frame_ends_in_one_counter() {
    every_frame_is_counted_once(Topology { outside_mtu: 1400, ..Topology::default() }, &[]);
}

#[test]
fn every_frame_ends_in_one_counter_with_generic_xdp() {
    every_frame_is_counted_once(Topology { outside_mtu: 1400, ..Topology::default() }, &["--xdp", "generic"]);
}

#[test]
fn every_frame_ends_in_one_counter_one_armed() {
    every_frame_is_counted_once(Topology::one_armed(1), &[]);
}

/// What is received is counted as received, whether it is refused or not and by whichever exit. A SYN of a flow that is
/// being deleted once moved `expired` alone.
#[test]
fn a_refused_packet_is_counted_as_received() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    wire.handshake(5000);
    let (a, b) = (at(client_addr(0), 5000), at(GHOST, 80));
    let received = || gateway.stats().unwrap()["packets"]["source_in"].as_u64().unwrap();
    let before = received();
    let mut sent = 0;
    std::thread::scope(|s| {
        let deletion = s.spawn(|| gateway.say(&["flows", "delete", "--sport", "5000"]).unwrap());
        while !deletion.is_finished() {
            for kind in [flags::SYN, flags::ACK, flags::FIN | flags::ACK, flags::SYN | flags::ACK] {
                wire.client.send(Packet::tcp(a, b, kind)).unwrap();
                sent += 1;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    wire.watch.fence();
    assert!(gateway.drops("expired").unwrap() > 0, "some were refused: {:#}", gateway.stats().unwrap());
    assert_eq!(received() - before, sent, "{:#}", gateway.stats().unwrap());
}
