//! A gateway that is also a container host: its kernel translates for others by the address that natgw uses as a shared EIP.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::Duration;

use nat_tests::lab::raw::{Raw, Watch};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{
    DMZ, EVIL, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, SRV_B, Topology, clients, wait_until,
};
use nat_tests::packet::Packet;

const PATIENCE: Duration = Duration::from_secs(8);
/// A port that the host publishes for its container.
const PUBLISHED: u16 = 8080;
/// The flag of a segment that opens a connection.
const SYN: u8 = 0x02;

fn at(addr: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(addr, port)
}

/// `dmz` is a container: behind an interface that natgw does not manage, translated by the kernel.
fn container_host() -> Lab {
    let lab = Lab::start(Topology { unmanaged: true, ..Topology::default() }).unwrap();
    let ruleset = format!(
        "add table ip docker; \
         add chain ip docker post {{ type nat hook postrouting priority 100; }}; \
         add rule ip docker post ip saddr {DMZ}/24 oifname out0 masquerade; \
         add chain ip docker pre {{ type nat hook prerouting priority -100; }}; \
         add rule ip docker pre iifname out0 ip daddr {GW_OUTSIDE} tcp dport {PUBLISHED} dnat to {DMZ}:80"
    );
    lab.gw().output("nft", &[&ruleset]).unwrap();
    lab.gw().sysctl("net.ipv4.ip_forward", "1").unwrap();
    lab
}

/// natgw on the host's own address. The published port has no socket, so the configuration names it.
fn options() -> Options {
    let config = format!(
        "[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n\
         [[pool]]\neips = [\"{GW_OUTSIDE}\"]\n\
         [reserved]\nports = {{ \"{GW_OUTSIDE}\" = [\"tcp/{PUBLISHED}\"] }}\n",
    );
    Options { config: Some(config), ..Options::default() }
}

#[test]
fn containers_live_on_when_natgw_starts_and_work_beside_its_clients() {
    let lab = container_host();
    let (container, server) = (lab.node("dmz"), lab.node("srv-a"));
    let _dns = Server::udp_echo(server, any(53)).unwrap();
    let _echo = Server::tcp_echo(server, any(7)).unwrap();
    let (mut stream, seen) = clients::connect_tcp(container, 0, at(SRV_A, 7)).unwrap();
    assert_eq!(*seen.ip(), GW_OUTSIDE);
    // A port below the host's ephemeral ones: one that natgw, too, could give to a client.
    let socket = container.run(|| UdpSocket::bind(any(20_000))).unwrap();
    assert_eq!(clients::ask_udp_on(&socket, at(SRV_A, 53)).unwrap(), at(GW_OUTSIDE, 20_000));

    let gateway = Gateway::start(&lab, &options()).unwrap();
    clients::echo(&mut stream, b"as before").unwrap();
    assert_eq!(clients::ask_udp_on(&socket, at(SRV_A, 53)).unwrap(), at(GW_OUTSIDE, 20_000));
    for n in 0..3 {
        assert_eq!(clients::ping(container, SRV_A, 2, &[]).unwrap(), 2, "round {n}");
        assert_eq!(clients::ping(lab.client(0), SRV_A, 2, &[]).unwrap(), 2, "round {n}");
        for host in [container, lab.client(0)] {
            let (mut new, seen) = clients::connect_tcp(host, 0, at(SRV_A, 7)).unwrap();
            assert_eq!(*seen.ip(), GW_OUTSIDE);
            clients::echo(&mut new, b"new").unwrap();
            clients::ask_udp(host, 0, at(SRV_A, 53)).unwrap();
        }
    }
    clients::echo(&mut stream, b"still").unwrap();
    // The container's by the kernel, the client's by natgw.
    assert!(!gateway.flows(&["--proto", "tcp"]).unwrap().is_empty());
    assert_eq!(gateway.drops("unsolicited_inbound").unwrap(), 0);
    assert!(gateway.stats().unwrap()["passes"]["host_nat"].as_u64().unwrap() > 0);
}

#[test]
fn a_published_port_of_a_container_is_reached_from_outside() {
    let lab = container_host();
    let _http = Server::tcp_echo(lab.node("dmz"), any(80)).unwrap();
    let _gateway = Gateway::start(&lab, &options()).unwrap();
    let (mut stream, seen) = clients::connect_tcp(lab.node("evil"), 0, at(GW_OUTSIDE, PUBLISHED)).unwrap();
    assert_eq!(*seen.ip(), EVIL);
    clients::echo(&mut stream, b"published").unwrap();
}

/// A client gets no port that the kernel uses towards the same server: the answers would be the container's no more.
#[test]
fn a_port_that_the_kernel_gave_to_a_container_is_not_given_to_a_client() {
    let lab = container_host();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let taken = lab.node("dmz").run(|| UdpSocket::bind(any(20_000))).unwrap();
    clients::ask_udp_on(&taken, at(SRV_A, 53)).unwrap();
    let config = options().config.unwrap().replace("[reserved]", "ports = \"20000-20000\"\n[reserved]");
    let gateway = Gateway::start(&lab, &Options { config: Some(config), ..Options::default() }).unwrap();
    let socket = lab.client(0).run(|| UdpSocket::bind(any(0))).unwrap();
    socket.send_to(b"from the container's port?", at(SRV_A, 53)).unwrap();
    wait_until("the client to be refused", PATIENCE, || gateway.drops("port_exhausted").unwrap() == 1);
    // Towards another server the port is free.
    let _other = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    assert_eq!(clients::ask_udp(lab.client(0), 0, at(SRV_B, 53)).unwrap(), at(GW_OUTSIDE, 20_000));
    assert_eq!(clients::ask_udp_on(&taken, at(SRV_A, 53)).unwrap(), at(GW_OUTSIDE, 20_000));
}

/// Invariant 2: what no connection of the host's claims gets no answer, whatever the port.
#[test]
fn a_scan_of_a_container_host_gets_no_answer() {
    let lab = container_host();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let gateway = Gateway::start(&lab, &options()).unwrap();
    clients::ask_udp(lab.node("dmz"), 0, at(SRV_A, 53)).unwrap();
    let watch = Watch::start(&lab).unwrap();
    let evil = Raw::outside(&lab).unwrap();
    let before = gateway.drops("unsolicited_inbound").unwrap();
    let ports: Vec<u16> = (1..=1000).chain((20_000..=60_000).step_by(100)).collect();
    for &port in &ports {
        evil.send(Packet::tcp(at(EVIL, 40_000), at(GW_OUTSIDE, port), SYN)).unwrap();
        evil.send(Packet::udp(at(EVIL, 40_000), at(GW_OUTSIDE, port))).unwrap();
    }
    wait_until("all of them to be dropped", PATIENCE, || {
        gateway.drops("unsolicited_inbound").unwrap() - before == 2 * ports.len() as u64
    });
    watch.settle();
    assert_eq!(watch.sent_to(EVIL), Vec::<String>::new());
}
