//! Frames to group addresses, and packets that say which way they want to go.

use std::net::Ipv4Addr;

use nat_tests::lab::raw::{Raw, Recorder, Watch, label, labels};
use nat_tests::lab::servers::any;
use nat_tests::lab::{
    EVIL, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, Topology, client_addr, clients, eip, wait_until,
};
use nat_tests::packet::{Packet, flags};

use super::{PATIENCE, SERVICE, assert_none, at, without_xdp};

const GROUPS: [[u8; 6]; 3] = [[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];

/// A unicast packet in a frame for a group is nobody's honest traffic (RFC 1122 3.3.6): natgw drops it. Before, it went
/// to the kernel, which answers.
fn group_macs_are_no_way_around(topology: Topology, extra: &[&str]) {
    let one_armed = topology.arms == nat_tests::lab::Arms::One;
    let lab = Lab::start(topology).unwrap();
    let mut options =
        Options { eips: vec![eip(0).to_string(), GW_OUTSIDE.to_string()], ..Options::default() };
    for word in ["--shared-echo", "false"].iter().chain(extra) {
        options = options.arg(word);
    }
    let gateway = Gateway::start(&lab, &options).unwrap();
    let service = Recorder::start(lab.client(1), any(SERVICE)).unwrap();
    let watch = Watch::start(&lab).unwrap();
    let (e, m) = (Raw::outside(&lab).unwrap(), Raw::inside(&lab).unwrap());
    let mut sent = 0;
    for dmac in GROUPS {
        let group = |p: Packet| p.with(|p| p.dmac = dmac);
        // On one wire the bridge hands a frame for a group to every host, natgw or not.
        let dsts = [GW_OUTSIDE, eip(0), client_addr(1)].into_iter().take(if one_armed { 2 } else { 3 });
        for dst in dsts {
            let say = |what: &str| label(&format!("{what} to {dst} at {dmac:02x?}"));
            e.send(group(Packet::echo_request(EVIL, dst, 7).payload(say("ping")))).unwrap();
            e.send(group(Packet::udp(at(EVIL, 9), at(dst, SERVICE)).payload(say("udp")))).unwrap();
            e.send(group(Packet::tcp(at(EVIL, 9), at(dst, SERVICE), flags::SYN).payload(say("syn"))))
                .unwrap();
            sent += 3;
        }
        let say = |what: &str| label(&format!("{what} from inside at {dmac:02x?}"));
        let src = at(client_addr(0), 4000);
        m.send(group(Packet::udp(src, at(SRV_A, 9)).payload(say("udp")))).unwrap();
        m.send(group(Packet::tcp(src, at(SRV_A, 9), flags::SYN).payload(say("syn")))).unwrap();
        sent += 2;
    }
    watch.settle();
    assert_none("packets that an inside host received", service.labels());
    assert_none("packets that came through, or answers that quote them", labels(&watch.inside));
    if !one_armed {
        assert_none("packets that went out, or answers that quote them", labels(&watch.outside));
    }
    assert_none("answers", watch.sent_to(EVIL));
    assert!(gateway.flows(&[]).unwrap().is_empty(), "no flow was made");
    assert_eq!(gateway.drops("group_mac").unwrap(), sent, "{:#}", gateway.stats().unwrap());
}

/// Invariant 2.
#[test]
fn a_unicast_packet_to_a_group_mac_is_dropped() {
    group_macs_are_no_way_around(Topology { clients: 2, ..Topology::default() }, &[]);
}

/// The same where the kernel runs the program.
#[test]
fn a_unicast_packet_to_a_group_mac_is_dropped_with_generic_xdp() {
    group_macs_are_no_way_around(Topology { clients: 2, ..Topology::default() }, &["--xdp", "generic"]);
}

/// The same on one wire.
#[test]
fn a_unicast_packet_to_a_group_mac_is_dropped_one_armed() {
    group_macs_are_no_way_around(Topology::one_armed(2), &[]);
}

/// A control: real broadcasts and multicasts are the host's, from both sides. DHCP lives by it.
#[test]
fn broadcast_and_multicast_still_reach_the_host() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let service = Recorder::start(lab.gw(), any(67)).unwrap();
    let (e, m) = (Raw::outside(&lab).unwrap(), Raw::inside(&lab).unwrap());
    let all = Ipv4Addr::BROADCAST;
    let packet = |src, dst, mac, name: &str| {
        Packet::udp(at(src, 68), at(dst, 67)).payload(label(name)).with(|p| p.dmac = mac)
    };
    m.send(packet(Ipv4Addr::UNSPECIFIED, all, [0xff; 6], "a client without an address")).unwrap();
    m.send(packet(client_addr(0), all, [0xff; 6], "a client with one")).unwrap();
    e.send(packet(Ipv4Addr::UNSPECIFIED, all, [0xff; 6], "outside")).unwrap();
    let group = Ipv4Addr::new(224, 0, 0, 1);
    m.send(packet(client_addr(0), group, [1, 0, 0x5e, 0, 0, 1], "all hosts")).unwrap();
    wait_until("four datagrams", PATIENCE, || service.labels().len() == 4);
}

/// Invariant 2 by the guards alone: where XDP is gone, neither a group address nor a source route gets by.
#[test]
fn neither_group_macs_nor_source_routes_get_by_the_guards_when_xdp_is_gone() {
    let lab = lab_that_accepts_source_routes();
    let _gateway = without_xdp(&lab, &Options::one_eip(), None);
    let service = Recorder::start(lab.client(1), any(SERVICE)).unwrap();
    let (watch, e) = (Watch::start(&lab).unwrap(), Raw::outside(&lab).unwrap());
    for dmac in GROUPS {
        for dst in [eip(0), client_addr(1)] {
            let say = |what: &str| label(&format!("{what} to {dst} at {dmac:02x?}"));
            for packet in [
                Packet::echo_request(EVIL, dst, 7).payload(say("ping")),
                Packet::udp(at(EVIL, 9), at(dst, SERVICE)).payload(say("udp")),
                Packet::tcp(at(EVIL, 9), at(dst, SERVICE), flags::SYN).payload(say("syn")),
            ] {
                e.send(packet.with(|p| p.dmac = dmac)).unwrap();
            }
        }
    }
    source_routed(&e);
    watch.settle();
    assert_none("packets that an inside host received", service.labels());
    assert_none("packets that came through, or answers that quote them", watch.labels());
    assert_none("answers", watch.sent_to(EVIL));
}

/// A gateway whose administrator accepts source routes, and whose neighbour table knows the target.
fn lab_that_accepts_source_routes() -> Lab {
    let lab = Lab::two_armed(2).unwrap();
    for device in ["all", "in0", "out0"] {
        lab.gw().sysctl(&format!("net.ipv4.conf.{device}.accept_source_route"), "1").unwrap();
    }
    assert_eq!(clients::ping(lab.gw(), client_addr(1), 1, &[]).unwrap(), 1);
    lab
}

/// Packets to the gateway's addresses that want to go on to an inside host: eight.
fn source_routed(e: &Raw) {
    for (name, kind) in [("loose", 131_u8), ("strict", 137)] {
        let route = [&[kind, 7, 4][..], &client_addr(1).octets(), &[0]].concat();
        for dst in [GW_OUTSIDE, eip(0)] {
            let say = |what: &str| label(&format!("{what}, {name} route by {dst}"));
            let routed = |p: Packet| p.with(|p| p.options.clone_from(&route));
            e.send(routed(Packet::udp(at(EVIL, 9), at(dst, SERVICE)).payload(say("udp")))).unwrap();
            e.send(routed(Packet::tcp(at(EVIL, 9), at(dst, 22), flags::SYN).payload(say("syn")))).unwrap();
        }
    }
}

/// A source route (RFC 791) makes a packet to the gateway's own address one to an inside host. Where the
/// administrator accepts source routes, only `forwarding`, which natgw sets, was missing.
#[test]
fn source_routes_from_outside_lead_nowhere() {
    let lab = lab_that_accepts_source_routes();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let service = Recorder::start(lab.client(1), any(SERVICE)).unwrap();
    let (watch, e) = (Watch::start(&lab).unwrap(), Raw::outside(&lab).unwrap());
    let before = super::drops(&gateway.stats().unwrap());
    source_routed(&e);
    watch.settle();
    assert_none("packets that an inside host received", service.labels());
    assert_none("packets that came through", watch.labels());
    assert_eq!(super::drops(&gateway.stats().unwrap()) - before, 8, "{:#}", gateway.stats().unwrap());
}
