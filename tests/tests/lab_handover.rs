//! Packets that natgw cannot send by itself leave all the same, and the host's own firewall does not see them.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use aya::maps::{Map, MapData, xdp::DevMap};
use nat_common::abi::map;
use nat_tests::lab::servers::{DOWNLOAD, Server, any};
use nat_tests::lab::{DMZ, Gateway, Lab, Options, SRV_A, SRV_B, Topology, clients, eip, wait_until};
use nat_userspace::datapath::pins::Pins;

/// Makes all managed interfaces what a bridge or a tunnel is: nothing that an XDP program can redirect to. The kernel forgets a
/// target that goes. The daemon would put them back, so it ends first.
fn take_from_xdp(lab: &Lab, gateway: &mut Gateway) {
    gateway.kill9().unwrap();
    let devices = MapData::from_pin(Pins::new(gateway.bpffs()).map(map::DEVICES)).unwrap();
    let mut devices = DevMap::try_from(Map::DevMap(devices)).unwrap();
    lab.gw().ip("link add gone type veth peer name gone1").unwrap();
    lab.gw().run(|| {
        let gone = nix::net::if_::if_nametoindex("gone").unwrap();
        for number in 0..devices.len() {
            devices.set(number, gone, None, 0).unwrap();
        }
    });
    lab.gw().ip("link del gone").unwrap();
}

fn no_drops(gateway: &Gateway) {
    let stats = gateway.stats().unwrap();
    let drops = stats["drops"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64);
    assert_eq!(drops.sum::<u64>(), 0, "{stats:#}");
    let packets = |side: &str| stats["packets"][side].as_u64().unwrap();
    assert_eq!(packets("source_in"), packets("destination_out"), "{stats:#}");
    assert_eq!(packets("destination_in"), packets("source_out"), "{stats:#}");
}

/// Real programs through a gateway whose XDP programs can redirect nowhere.
fn works_without_redirects(lab: &Lab, mut gateway: Gateway) {
    take_from_xdp(lab, &mut gateway);
    let http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
    let seen = clients::ask_udp(lab.client(0), 5000, SocketAddrV4::new(SRV_B, 53)).unwrap();
    assert_eq!(*seen.ip(), eip(0));
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 3);
    assert!(http.seen().iter().all(|peer| *peer.ip() == eip(0)));
    assert_eq!(lab.checksum_errors().unwrap(), 0);
    no_drops(&gateway);
    // Each flow has counted in both directions.
    let flows = gateway.flows(&["--proto", "udp"]).unwrap();
    assert_eq!(flows.len(), 1, "{flows:?}");
    assert_eq!(flows[0]["state"], "replied");
}

#[test]
fn a_device_that_xdp_cannot_redirect_to_is_sent_to_all_the_same() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    // Without NAPI at the other end, which GRO would switch on, a veth loses what is redirected to it.
    lab.node("lan").output("ethtool", &["-K", "gw", "gro", "off"]).unwrap();
    works_without_redirects(&lab, gateway);
}

/// The other end of a veth runs no XDP program: what natgw's sends back by the driver (`XDP_TX`) would be lost.
#[test]
fn one_interface_that_xdp_cannot_send_back_by_is_sent_to_all_the_same() {
    let lab = Lab::start(Topology::one_armed(1)).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    lab.node("lan").output("ethtool", &["-K", "gw", "gro", "off"]).unwrap();
    works_without_redirects(&lab, gateway);
}

/// The gateway forwards nothing for anybody else, as container hosts and firewalls do.
fn forward_nothing(lab: &Lab) {
    let ruleset =
        "add table inet f; add chain inet f forward { type filter hook forward priority 0; policy drop; }";
    lab.gw().output("nft", &[ruleset]).unwrap();
}

/// Neither side's neighbours are known when the first packet of a client comes.
#[test]
fn a_firewall_that_forwards_nothing_costs_no_packet() {
    let lab = Lab::two_armed(2).unwrap();
    forward_nothing(&lab);
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    for n in [0, 1] {
        lab.gw().ip("neigh flush dev in0\nneigh flush dev out0").unwrap();
        let client = lab.client(n);
        // One question: no answer to it, no second one.
        assert_eq!(clients::ping(client, SRV_A, 1, &["-W", "2"]).unwrap(), 1, "client {n}");
        let seen = clients::ask_udp(client, 5000, SocketAddrV4::new(SRV_A, 53)).unwrap();
        assert_eq!(*seen.ip(), eip(0));
    }
    no_drops(&gateway);
    assert_eq!(gateway.stats().unwrap()["internals"]["handovers"], 0);
}

/// A device that natgw does not manage leads to the destination, and the host forwarded before natgw. What natgw translated leaves
/// there, and no firewall for what the host forwards sees it.
#[test]
fn a_firewall_that_forwards_nothing_does_not_see_what_leaves_by_another_device() {
    let server = Ipv4Addr::new(198, 18, 0, 1);
    let lab = Lab::start(Topology { unmanaged: true, ..Topology::default() }).unwrap();
    lab.node("dmz").ip(&format!("addr add {server}/32 dev lo\nlink set lo up")).unwrap();
    lab.gw().ip(&format!("route add {server} via {DMZ}")).unwrap();
    lab.gw().sysctl("net.ipv4.conf.in0.forwarding", "1").unwrap();
    forward_nothing(&lab);
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let udp = Server::udp_echo(lab.node("dmz"), any(53)).unwrap();
    let socket = lab.client(0).run(|| UdpSocket::bind(any(5000))).unwrap();
    socket.send_to(b"once", SocketAddrV4::new(server, 53)).unwrap();
    wait_until("it to arrive", Duration::from_secs(5), || udp.seen().iter().any(|peer| *peer.ip() == eip(0)));
    // Again, by a hop that is known by now.
    socket.send_to(b"again", SocketAddrV4::new(server, 53)).unwrap();
    wait_until("the second to arrive", Duration::from_secs(5), || udp.seen().len() == 2);
    assert_eq!(gateway.stats().unwrap()["internals"]["handovers"], 0);
}
