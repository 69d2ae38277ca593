//! Sources that are somebody else's on another inside interface.

use nat_tests::lab::raw::{Raw, Watch, label, labels};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::Direction;
use nat_tests::lab::{CLIENT_Z, Gateway, Lab, Options, SRV_A, Topology, client_addr, clients, eip};
use nat_tests::packet::{Packet, flags};

use super::wire::{GHOST, Wire, flow, state};
use super::{PATIENCE, assert_none, at};

fn lab() -> Lab {
    Lab::start(Topology { clients: 2, second_inside: true, ..Topology::default() }).unwrap()
}

/// Policy: a source is genuine where the route back to it leads to the interface that its packet came by (RFC 3704).
/// Strict by default.
#[test]
fn another_interfaces_source_starts_no_flow() {
    let lab = lab();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let (watch, m) = (Watch::start(&lab).unwrap(), Raw::second_inside(&lab).unwrap());
    let before = gateway.drops("spoofed_source").unwrap();
    let victim = client_addr(1);
    let say = |what: &str| label(what);
    m.send(Packet::udp(at(victim, 4000), at(SRV_A, 53)).payload(say("udp"))).unwrap();
    m.send(Packet::tcp(at(victim, 4000), at(SRV_A, 80), flags::SYN).payload(say("syn"))).unwrap();
    m.send(Packet::echo_request(victim, SRV_A, 9).payload(say("ping"))).unwrap();
    // Nor to the gateway itself, nor by it to another inside network.
    m.send(Packet::udp(at(victim, 4000), at([10, 1, 0, 1].into(), 53)).payload(say("to the gateway")))
        .unwrap();
    m.send(Packet::udp(at(victim, 4000), at(client_addr(0), 53)).payload(say("to a neighbour"))).unwrap();
    watch.settle();
    fence_in1(&lab);
    assert_none("packets of a forged source that left", labels(&watch.outside));
    assert_none("packets of a forged source that came inside", labels(&watch.inside));
    assert!(gateway.flows(&["--src", "10.0.0.11"]).unwrap().is_empty(), "no flow was born");
    assert_eq!(gateway.drops("spoofed_source").unwrap() - before, 5, "{:#}", gateway.stats().unwrap());
}

/// What `cli-z` sends goes by the same wire, after what M has sent there.
fn fence_in1(lab: &Lab) {
    assert_eq!(clients::ping(lab.node("cli-z"), SRV_A, 1, &[]).unwrap(), 1, "a genuine source works");
}

/// Flows that live are not fed from another interface either.
#[test]
fn another_interfaces_source_does_not_speak_in_a_flow() {
    let lab = lab();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    let m = Raw::second_inside(&lab).unwrap();
    let end = wire.handshake(4000);
    let udp = wire.udp(5000);
    wire.watch.clear();
    let (a, b) = (at(client_addr(0), 4000), at(GHOST, 80));
    for (name, kind) in [
        ("data", flags::ACK | flags::PSH),
        ("rst", flags::RST),
        ("fin", flags::FIN | flags::ACK),
        ("rst ack", flags::RST | flags::ACK),
        ("syn", flags::SYN),
    ] {
        m.send(Packet::tcp(a, b, kind).payload(label(name))).unwrap();
        m.send_tagged(Packet::tcp(a, b, kind).payload(label(&format!("{name}, tagged"))), &[(0x8100, 0)])
            .unwrap();
    }
    m.send(Packet::udp(at(client_addr(0), 5000), at(GHOST, 53)).payload(label("udp"))).unwrap();
    fence_in1(&lab);
    wire.watch.settle();
    assert_none("forged segments that left in B's flow", labels(&wire.watch.outside));
    assert_eq!(state(&gateway, 4000).0, "established");
    // The victim notices nothing.
    let data = flags::ACK | flags::PSH;
    wire.out(Packet::tcp(a, b, data), PATIENCE).expect("the victim's data");
    wire.back(Packet::tcp(b, end, data), PATIENCE).expect("the server's data");
    wire.back(Packet::udp(at(GHOST, 53), udp), PATIENCE).expect("the server's datagram");
    let stats = gateway.stats().unwrap();
    assert!(super::drops(&stats) >= 11, "each is counted: {stats:#}");
}

/// Who says so gets it: `rpf = "off"`; and `loose`, where any route back will do.
#[test]
fn rpf_can_be_switched_off() {
    for mode in ["off", "loose"] {
        let lab = lab();
        let text = format!(
            "rpf = \"{mode}\"\n[interfaces]\ninside = [\"in0\", \"in1\"]\noutside = [\"out0\"]\n[[pool]]\n\
             name = \"lab\"\neips = [\"{}\"]\n",
            eip(0)
        );
        let options = Options { config: Some(text), ..Options::default() };
        let gateway = Gateway::start(&lab, &options).unwrap();
        let wire = Wire::open(&lab);
        let m = Raw::second_inside(&lab).unwrap();
        m.send(Packet::udp(at(client_addr(0), 6000), at(GHOST, 53)).payload(label("foreign"))).unwrap();
        let left =
            |p: &nat_tests::packet::Parsed, d| d == Direction::Received && p.payload == label("foreign");
        let left = wire.watch.outside.wait_for(PATIENCE, left).expect("translated");
        assert_eq!(left.src, eip(0));
        assert!(flow(&gateway, 6000).is_some());
    }
}

/// A control: clients behind an inside router, when the routes say so.
#[test]
fn clients_behind_an_inside_router_work() {
    let lab = lab();
    lab.gw().ip("route add 10.5.0.0/16 via 10.0.0.10").unwrap();
    lab.client(0).ip("addr add 10.5.0.5/32 dev lo").unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &["-I", "10.5.0.5"]).unwrap(), 3);
}

/// A control: a prefix that both inside routers lead to. Packets of one client come by either.
#[test]
fn clients_behind_two_inside_routers_work() {
    let lab = lab();
    lab.gw().ip("route add 10.6.0.0/16 nexthop via 10.0.0.10 dev in0 nexthop via 10.1.0.10 dev in1").unwrap();
    for node in ["cli-a", "cli-z"] {
        for host in 1..=8 {
            lab.node(node).ip(&format!("addr add 10.6.0.{host}/32 dev lo")).unwrap();
        }
    }
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    for (node, first) in [("cli-a", 7000), ("cli-z", 7100)] {
        let via =
            if node == "cli-a" { Raw::inside(&lab).unwrap() } else { Raw::second_inside(&lab).unwrap() };
        for host in 1..=8 {
            let said = label(&format!("{node} {host}"));
            let packet = Packet::udp(at([10, 6, 0, host].into(), first), at(GHOST, 53));
            via.send(packet.payload(said.clone())).unwrap();
            let left =
                wire.watch.outside.wait_for(PATIENCE, |p, d| d == Direction::Received && p.payload == said);
            assert_eq!(left.unwrap_or_else(|| panic!("10.6.0.{host} by {node}")).src, eip(0));
        }
    }
    assert_eq!(gateway.drops("spoofed_source").unwrap(), 0);
}

/// A control: a host that moves from one inside interface to another, and its route with it, keeps its flows.
#[test]
fn a_host_may_move_to_another_inside_interface() {
    let lab = lab();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let before = clients::ask_udp(lab.client(1), 5000, at(SRV_A, 53)).unwrap();
    lab.client(1).ip("link set eth0 down").unwrap();
    lab.node("cli-z").ip("addr add 10.0.0.11/32 dev lo").unwrap();
    lab.gw().ip(&format!("route add 10.0.0.11/32 via {CLIENT_Z} dev in1")).unwrap();
    let socket = lab.node("cli-z").run(|| std::net::UdpSocket::bind("10.0.0.11:5000")).unwrap();
    nat_tests::lab::wait_until("the moved host to be served", PATIENCE, || {
        clients::ask_udp_on(&socket, at(SRV_A, 53)).is_ok_and(|seen| seen == before)
    });
    assert_eq!(gateway.flows(&["--src", "10.0.0.11"]).unwrap().len(), 1, "the flow went along");
}
