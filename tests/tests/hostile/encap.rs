//! Routes that wrap packets: the outer header is the gateway's, and no guard looks at the inner one.

use nat_tests::lab::raw::{Raw, label, label_in};
use nat_tests::lab::tap::{Direction, mac_of};
use nat_tests::lab::{Gateway, Lab, Options, WAN, client_addr, wait_until};
use nat_tests::packet::{Packet, flags};

use super::wire::{GHOST, Wire};
use super::{PATIENCE, assert_none, at};

/// What a client sends to [`GHOST`], by name.
fn packets() -> Vec<(&'static str, Packet)> {
    let client = at(client_addr(0), 4000);
    vec![
        ("udp", Packet::udp(client, at(GHOST, 53))),
        ("syn", Packet::tcp(client, at(GHOST, 80), flags::SYN)),
        ("ack", Packet::tcp(client, at(GHOST, 81), flags::ACK)),
        ("ping", Packet::echo_request(client_addr(0), GHOST, 9)),
        ("gre", Packet::raw(client_addr(0), GHOST, 47)),
        ("fragment", Packet::udp(client, at(GHOST, 54)).with(|p| (p.df, p.mf) = (false, true))),
    ]
}

/// Names of the packets that were on the outside wire, wrapped or not, with the client's own address.
fn leaked(wire: &Wire) -> Vec<String> {
    let own = client_addr(0).octets();
    let frames = wire.watch.outside.frames().into_iter().filter(|f| f.direction == Direction::Received);
    frames.filter(|f| f.bytes.windows(4).any(|w| w == own)).filter_map(|f| label_in(&f.bytes)).collect()
}

fn client_sends(lab: &Lab, wire: &Wire) {
    let client = Raw::inside(lab).unwrap().as_mac(mac_of(lab.client(0), "eth0").unwrap());
    for (name, packet) in packets() {
        client.send(packet.clone().payload(label(name))).unwrap();
        client.send_tagged(packet.payload(label(&format!("{name}, tagged"))), &[(0x8100, 0)]).unwrap();
    }
    wire.watch.settle();
}

/// Invariant 1: a route with a lightweight tunnel (`encap ip`) is one that `bpf_fib_lookup` does not answer
/// (`BPF_FIB_LKUP_RET_UNSUPP_LWT`). What natgw cannot classify it does not pass: the kernel would wrap the inside source.
#[test]
fn an_encapsulating_route_leaks_no_wrapped_inside_source() {
    let lab = Lab::two_armed(1).unwrap();
    lab.gw().ip("link add vx0 type vxlan external dstport 4789\nlink set vx0 up").unwrap();
    let route = format!("route add {GHOST}/32 encap ip id 7 dst {WAN} via 10.255.0.2 dev vx0 onlink");
    lab.gw().ip(&format!("addr add 10.255.0.1/24 dev vx0\n{route}")).unwrap();
    lab.gw().ip("neigh add 10.255.0.2 lladdr 02:00:00:00:00:77 dev vx0").unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    client_sends(&lab, &wire);
    assert_none("inside sources outside, wrapped", leaked(&wire));
}

/// A control: by a tunnel device, which natgw does not manage, the client's packets leave translated and wrapped, where
/// the host was a router before.
#[test]
fn a_tunnel_device_carries_translated_packets() {
    let lab = Lab::two_armed(1).unwrap();
    lab.gw()
        .ip(&format!("link add vx0 type vxlan id 7 dstport 4789 remote {WAN} dev out0\nlink set vx0 up"))
        .unwrap();
    lab.gw()
        .ip(&format!("addr add 100.64.7.1/24 dev vx0\nroute add {GHOST}/32 via 100.64.7.2 dev vx0"))
        .unwrap();
    lab.gw().ip("neigh add 100.64.7.2 lladdr 02:00:00:00:00:77 dev vx0").unwrap();
    for device in ["in0", "out0", "vx0"] {
        lab.gw().sysctl(&format!("net.ipv4.conf.{device}.forwarding"), "1").unwrap();
    }
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    client_sends(&lab, &wire);
    let came = |name: &str| wire.watch.labels().contains(name);
    wait_until("the translated packets", PATIENCE, || came("udp") && came("syn") && came("ping"));
    assert_none("inside sources outside, wrapped", leaked(&wire));
}
