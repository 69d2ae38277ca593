//! Ports of an EIP that are not natgw's to give: the kernel's own listeners, and those that the configuration reserves.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use nat_tests::lab::raw::Raw;
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{EVIL, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, clients, eip, wait_until};
use nat_tests::packet::Packet;

const PATIENCE: Duration = Duration::from_secs(8);
/// VXLAN's port (RFC 7348 section 5).
const PORT: u16 = 4789;
/// The only other one that the EIP has: natgw refuses a configuration that reserves all.
const OTHER: u16 = PORT + 1;

/// A gateway with one EIP of two ports, and what is reserved of it.
fn options(eip: Ipv4Addr, reserved: &str) -> Options {
    let config = format!(
        "[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n\
         [[pool]]\neips = [\"{eip}\"]\nports = \"{PORT}-{OTHER}\"\n\
         [reserved]\nports = {{ \"{eip}\" = [{reserved}] }}\n",
    );
    Options { config: Some(config), ..Options::default() }
}

/// A VXLAN device whose socket is the kernel's, as an administrator makes it.
fn vxlan(lab: &Lab) {
    let add = format!("link add vx0 type vxlan id 7 dstport {PORT} local {GW_OUTSIDE}\nlink set vx0 up");
    lab.gw().ip(&add).unwrap();
}

/// Packets that the VXLAN device has taken in.
fn received(lab: &Lab) -> u64 {
    let text = lab.gw().output("ip", &["-j", "-s", "link", "show", "vx0"]).unwrap();
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    links[0]["stats64"]["rx"]["packets"].as_u64().unwrap()
}

/// An Ethernet frame in VXLAN (RFC 7348 section 5), from E to the EIP.
fn wrapped(to: Ipv4Addr) -> Packet {
    let mut payload = vec![8, 0, 0, 0, 0, 0, 7, 0];
    payload.extend([[0xff; 6], [2, 0, 0, 0, 0xee, 1]].concat());
    payload.extend([0x88, 0xb5]);
    payload.extend([0; 46]);
    Packet::udp(SocketAddrV4::new(EVIL, 50_000), SocketAddrV4::new(to, PORT)).payload(payload)
}

/// The ports that two flows to one server get, one after another.
fn given(lab: &Lab) -> BTreeSet<u16> {
    let sockets: Vec<UdpSocket> =
        lab.client(0).run(|| (0..2).map(|_| UdpSocket::bind(any(0)).unwrap()).collect());
    let ask = |s: &UdpSocket| clients::ask_udp_on(s, SocketAddrV4::new(SRV_A, 53)).ok();
    sockets.iter().filter_map(ask).map(|seen| seen.port()).collect()
}

/// A control: both ports are given while nobody else has them.
#[test]
fn a_port_that_nobody_has_is_given() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &options(GW_OUTSIDE, "")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    assert_eq!(given(&lab), [PORT, OTHER].into());
}

/// The kernel's tunnels that receive UDP have a socket like any program's, and the lookup finds it.
#[test]
fn the_port_of_a_vxlan_device_is_the_hosts_reserved_or_not() {
    for reserved in ["", "\"udp/4789\""] {
        let lab = Lab::two_armed(1).unwrap();
        vxlan(&lab);
        let gateway = Gateway::start(&lab, &options(GW_OUTSIDE, reserved)).unwrap();
        let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
        assert_eq!(given(&lab), [OTHER].into(), "reserved: {reserved}");
        let before = received(&lab);
        Raw::outside(&lab).unwrap().send(wrapped(GW_OUTSIDE)).unwrap();
        wait_until("the device to receive", PATIENCE, || received(&lab) > before);
        assert_eq!(gateway.drops("unsolicited_inbound").unwrap(), 0);
    }
}

/// Where the kernel has no socket (a redirection by nft, say), the configuration says that the port is the host's.
#[test]
fn a_reserved_port_of_a_shared_eip_reaches_the_host_without_a_socket() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &options(GW_OUTSIDE, "\"udp/4789\"")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    assert_eq!(given(&lab), [OTHER].into());
    let unwanted = || lab.gw().counter("Udp", "NoPorts").unwrap();
    let before = unwanted();
    Raw::outside(&lab).unwrap().send(wrapped(GW_OUTSIDE)).unwrap();
    wait_until("the kernel to see it", PATIENCE, || unwanted() > before);
    assert_eq!(gateway.drops("unsolicited_inbound").unwrap(), 0);
}

/// A dedicated EIP is nobody's but natgw's: a reserved port of it is not given, and not passed.
#[test]
fn a_reserved_port_of_a_dedicated_eip_is_dropped() {
    let lab = Lab::two_armed(1).unwrap();
    vxlan(&lab);
    let gateway = Gateway::start(&lab, &options(eip(0), "\"udp/4789\"")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    assert_eq!(given(&lab), [OTHER].into());
    let (before, unwanted) = (received(&lab), lab.gw().counter("Udp", "NoPorts").unwrap());
    Raw::outside(&lab).unwrap().send(wrapped(eip(0))).unwrap();
    wait_until("the drop", PATIENCE, || gateway.drops("unsolicited_inbound").unwrap() == 1);
    assert_eq!((received(&lab), lab.gw().counter("Udp", "NoPorts").unwrap()), (before, unwanted));
}
