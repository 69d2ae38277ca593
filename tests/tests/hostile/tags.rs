//! VLAN tags: no stack of them leads past natgw, and a priority tag is as if it were not there.

use nat_tests::lab::raw::{E_MAC, M_MAC, Raw, Recorder, Tag, Watch, label, labels};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, Tap};
use nat_tests::lab::{
    Arms, EVIL, GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, Topology, client_addr, eip, wait_until,
};
use nat_tests::packet::{Packet, flags};

use super::wire::GHOST;
use super::{PATIENCE, SERVICE, assert_none, at, without_xdp};

const C_TAG: u16 = 0x8100;
const S_TAG: u16 = 0x88a8;

/// The stacks of tags that are tried, by name. VLAN 0: a priority, no VLAN.
fn stacks() -> Vec<(String, Vec<Tag>)> {
    let mut all = vec![("no tag".to_owned(), Vec::new())];
    for depth in [1_usize, 2, 3, 4, 5, 6, 7, 8, 16] {
        all.push((format!("{depth} c-tags"), vec![(C_TAG, 0); depth]));
        all.push((format!("{depth} s-tags"), vec![(S_TAG, 0); depth]));
        let mixed = (0..depth).map(|n| (if n % 2 == 0 { S_TAG } else { C_TAG }, 0));
        all.push((format!("{depth} mixed"), mixed.collect()));
    }
    for (name, vlans) in [
        ("vlan 100", &[100_u16][..]),
        ("vlan 1 with priority", &[0x6001]),
        ("vlan 0 in 100", &[100, 0]),
        ("vlan 100 in 0", &[0, 100]),
        ("vlan 100 in 0 in 0 in 0", &[0, 0, 0, 100]),
        ("vlan 0 in 0 in 0 in 100", &[100, 0, 0, 0]),
        ("priority 5, four deep", &[0xa000, 0xa000, 0xa000, 0xa000]),
    ] {
        all.push((name.to_owned(), vlans.iter().map(|v| (C_TAG, *v)).collect()));
    }
    all
}

/// What an outsider would like to get an answer to, or into: an inside host, a dedicated EIP.
fn unsolicited(name: &str) -> Vec<Packet> {
    let src = at(EVIL, 40_000);
    let mut all = Vec::new();
    for (what, dst) in [("inside host", client_addr(1)), ("dedicated EIP", eip(0))] {
        let say = |kind: &str| label(&format!("{kind} to {what}, {name}"));
        all.push(Packet::udp(src, at(dst, SERVICE)).payload(say("udp")));
        all.push(Packet::tcp(src, at(dst, SERVICE), flags::SYN).payload(say("syn")));
        all.push(Packet::echo_request(EVIL, dst, 7).payload(say("ping")));
    }
    all
}

/// What only the XDP program can stop: a shared EIP, and an inside source before the gateway's own services. On one wire
/// nobody can tell that source from a client's.
fn at_the_host(name: &str, arms: Arms) -> Vec<Packet> {
    let src = at(EVIL, 40_000);
    let say = |what: &str| label(&format!("{what}, {name}"));
    let mut all = vec![
        Packet::udp(src, at(GW_OUTSIDE, 9)).payload(say("udp to a closed port")),
        Packet::tcp(src, at(GW_OUTSIDE, 9), flags::SYN).payload(say("syn to a closed port")),
        Packet::echo_request(EVIL, GW_OUTSIDE, 7).payload(say("ping to a shared EIP")),
    ];
    if arms == Arms::Two {
        let inside = at(client_addr(1), 9);
        all.push(Packet::udp(inside, at(GW_OUTSIDE, SERVICE)).payload(say("inside source to .100")));
        all.push(Packet::udp(inside, at(GW_INSIDE, SERVICE)).payload(say("inside source to 10.0.0.1")));
    }
    all
}

fn tags_lead_nowhere(topology: Topology, options: &Options) {
    let lab = Lab::start(topology).unwrap();
    let mut options = options.clone().arg("--shared-echo").arg("false");
    options.eips = vec![eip(0).to_string(), GW_OUTSIDE.to_string()];
    let gateway = Gateway::start(&lab, &options).unwrap();
    let services = [lab.gw(), lab.client(1)].map(|ns| Recorder::start(ns, any(SERVICE)).unwrap());
    let _listener = Server::tcp_hold(lab.gw(), at(eip(0), SERVICE)).unwrap();
    let (watch, e) = (Watch::start(&lab).unwrap(), Raw::outside(&lab).unwrap());
    let before = gateway.stats().unwrap();
    let mut sent = 0;
    for (name, tags) in stacks() {
        for packet in unsolicited(&name).into_iter().chain(at_the_host(&name, lab.topology().arms)) {
            e.send_tagged(packet, &tags).unwrap();
            sent += 1;
        }
    }
    watch.settle();
    for service in &services {
        assert_none("packets that a service received", service.labels());
    }
    assert_none("packets that came through, or answers that quote them", watch.labels());
    assert_none("answers", watch.sent_to(EVIL));
    let after = gateway.stats().unwrap();
    let dropped = super::drops(&after) - super::drops(&before);
    let passed = |s: &serde_json::Value| s["internals"]["passed"].as_u64().unwrap();
    // A VLAN that nobody here has may be passed: its frames are for no interface of this host.
    assert!(dropped + passed(&after) - passed(&before) >= sent, "every one is counted: {after:#}");
    assert!(gateway.flows(&[]).unwrap().is_empty(), "no flow was made");
}

/// Invariants 2 and 9.
#[test]
fn no_stack_of_tags_reaches_anything_from_outside() {
    tags_lead_nowhere(Topology { clients: 2, ..Topology::default() }, &Options::default());
}

/// The same where the kernel runs the program, later and on its own kind of buffer.
#[test]
fn no_stack_of_tags_reaches_anything_with_generic_xdp() {
    tags_lead_nowhere(
        Topology { clients: 2, ..Topology::default() },
        &Options::default().arg("--xdp").arg("generic"),
    );
}

/// The same on one wire, where E's frames arrive on the clients' own interface.
#[test]
fn no_stack_of_tags_reaches_anything_one_armed() {
    tags_lead_nowhere(Topology::one_armed(2), &Options::default());
}

/// The same with frames in several buffers.
#[test]
fn no_stack_of_tags_reaches_anything_with_jumbo_frames() {
    let topology = Topology { clients: 2, inside_mtu: 9000, outside_mtu: 9000, ..Topology::default() };
    tags_lead_nowhere(topology, &Options::default());
}

/// Invariant 2 by the guards alone.
#[test]
fn no_stack_of_tags_gets_by_the_guards_when_xdp_is_gone() {
    let lab = Lab::two_armed(2).unwrap();
    let _gateway = without_xdp(&lab, &Options::one_eip(), None);
    let service = Recorder::start(lab.client(1), any(SERVICE)).unwrap();
    let (watch, e) = (Watch::start(&lab).unwrap(), Raw::outside(&lab).unwrap());
    for (name, tags) in stacks() {
        for packet in unsolicited(&name) {
            e.send_tagged(packet, &tags).unwrap();
        }
    }
    watch.settle();
    assert_none("packets that an inside host received", service.labels());
    assert_none("packets that came through, or answers that quote them", watch.labels());
    assert_none("answers of the dedicated EIP", watch.sent_to(EVIL));
}

/// IEEE 802.1Q 6.9: a tag with VLAN 0 says a priority and nothing else. A client that sets one is a client.
#[test]
fn a_priority_tag_before_a_clients_packet_is_looked_through() {
    priority_tags_are_looked_through(&Options::one_eip());
}

/// The same where the kernel runs the program.
#[test]
fn a_priority_tag_before_a_clients_packet_is_looked_through_with_generic_xdp() {
    priority_tags_are_looked_through(&Options::one_eip().arg("--xdp").arg("generic"));
}

fn priority_tags_are_looked_through(options: &Options) {
    let lab = Lab::two_armed(2).unwrap();
    let _gateway = Gateway::start(&lab, options).unwrap();
    for host in ["cli-a", "wan"] {
        lab.node(host).ip(&format!("route add blackhole {GHOST}/32")).unwrap();
    }
    let client =
        Raw::inside(&lab).unwrap().as_mac(nat_tests::lab::tap::mac_of(lab.client(0), "eth0").unwrap());
    let (watch, e) = (Watch::start(&lab).unwrap(), Raw::outside(&lab).unwrap());
    let still_tagged = [tagged_only(&lab, "wan", "gw0"), tagged_only(&lab, "lan", "gw")];
    for (name, priority) in [("0", 0), ("5", 0xa000)] {
        let src = at(client_addr(0), 5000 + priority / 100);
        for (kind, packet, answer) in [
            ("udp", Packet::udp(src, at(GHOST, 53)), None),
            ("tcp", Packet::tcp(src, at(GHOST, 80), flags::SYN), Some(flags::SYN | flags::ACK)),
        ] {
            let said = label(&format!("{kind} with priority {name}"));
            watch.clear();
            client.send_tagged(packet.payload(said.clone()), &[(C_TAG, priority)]).unwrap();
            let out = watch
                .outside
                .wait_for(PATIENCE, |p, d| d == Direction::Received && p.payload == said && p.src == eip(0))
                .unwrap_or_else(|| panic!("{kind} with priority {name} is not translated"));
            assert!(out.checksums_ok() && out.ttl == 63, "{out}");
            let back = match answer {
                None => Packet::udp(at(GHOST, 53), out.source()),
                Some(flags) => Packet::tcp(at(GHOST, 80), out.source(), flags),
            };
            e.send_tagged(back.payload(b"the answer".to_vec()), &[(S_TAG, priority)]).unwrap();
            let came = watch.inside.wait_for(PATIENCE, |p, d| {
                d == Direction::Received && p.payload == b"the answer" && p.destination() == src
            });
            assert!(came.expect("the answer comes back").checksums_ok());
        }
    }
    for tap in &still_tagged {
        assert_none("frames that leave with a tag", tap.frames().iter().map(|f| format!("{f:?}")));
    }
    // The taps would have seen one.
    let own = Raw::at(lab.gw(), "in0", M_MAC, E_MAC).unwrap();
    own.send_tagged(Packet::udp(at(eip(0), 1), at(GHOST, 1)), &[(C_TAG, 0xa000)]).unwrap();
    wait_until("a tagged frame to be seen", PATIENCE, || !still_tagged[1].frames().is_empty());
}

/// What a tap receives with a tag in its metadata, where the kernel puts the outermost one.
fn tagged_only(lab: &Lab, node: &str, device: &str) -> Tap {
    const PRESENT: u32 = (-0x1000_i32 + 48).cast_unsigned();
    const TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();
    let op = |code: u32, jt, jf, k| libc::sock_filter { code: u16::try_from(code).unwrap(), jt, jf, k };
    let filter = [
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, TYPE),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 2, 0, libc::PACKET_OUTGOING.into()),
        op(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, PRESENT),
        op(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 1, 0, 1),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        op(libc::BPF_RET | libc::BPF_K, 0, 0, 0xffff),
    ];
    Tap::start_with(lab.node(node), device, Some(&filter)).unwrap()
}

/// A tag with a VLAN is for that VLAN's interface: here nobody's. A control: it held before.
#[test]
fn a_tagged_frame_of_another_vlan_is_never_translated() {
    let lab = Lab::two_armed(3).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let service = Recorder::start(lab.gw(), any(SERVICE)).unwrap();
    let (watch, m) = (Watch::start(&lab).unwrap(), Raw::inside(&lab).unwrap());
    for (name, tags) in stacks().into_iter().filter(|(_, tags)| tags.iter().any(|t| t.1 & 0xfff != 0)) {
        for (what, dst) in [("server", at(SRV_A, SERVICE)), ("gateway", at(GW_INSIDE, SERVICE))] {
            let src = at(client_addr(2), 4000);
            let udp = Packet::udp(src, dst).payload(label(&format!("udp to {what}, {name}")));
            let syn = Packet::tcp(src, dst, flags::SYN).payload(label(&format!("syn to {what}, {name}")));
            m.send_tagged(udp, &tags).unwrap();
            m.send_tagged(syn, &tags).unwrap();
        }
    }
    watch.settle();
    assert_none("packets that a service received", service.labels());
    assert_none("packets that went out", labels(&watch.outside));
    assert!(gateway.flows(&[]).unwrap().is_empty(), "no flow was made");
}
