//! The network around the gateway changes under running traffic, or was never quite ready.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::SocketAddrV4;
use std::time::Duration;

use nat_tests::lab::servers::{DOWNLOAD, Server, any};
use nat_tests::lab::tap::Direction;
use nat_tests::lab::{
    Gateway, Lab, Options, SRV_A, SRV_B, Topology, WAN2, client_addr, clients, eip, wait_until,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Runs `change` once the first megabytes of a 20 MB transfer at 10 MB/s have passed, and checks the whole.
fn mid_transfer(lab: &Lab, server: std::net::Ipv4Addr, mut change: impl FnMut()) {
    let tap = lab.outside_tap().unwrap();
    let sum = std::thread::scope(|s| {
        let transfer =
            s.spawn(|| clients::download(lab.client(0), &format!("http://{server}/slow")).unwrap());
        let bytes = || -> usize { tap.frames().iter().map(|f| f.bytes.len()).sum() };
        wait_until("the transfer to run", PATIENCE, || bytes() > 2_000_000);
        change();
        transfer.join().unwrap()
    });
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD / 5).unwrap());
    assert_eq!(lab.checksum_errors().unwrap(), 0);
}

#[test]
fn a_transfer_survives_flushed_neighbours() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    mid_transfer(&lab, SRV_A, || {
        for _ in 0..5 {
            lab.gw().ip("neigh flush all").unwrap();
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

#[test]
fn a_transfer_moves_to_another_route() {
    let topology = Topology { second_outside: true, ..Topology::default() };
    let lab = Lab::start(topology).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip_on_any_link(lab.topology())).unwrap();
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let second = nat_tests::lab::Tap::start(lab.node("wan"), "gw1").unwrap();
    mid_transfer(&lab, SRV_A, || {
        assert!(second.find(|p, _| p.dst == SRV_A).is_empty());
        lab.gw().ip(&format!("route add 198.51.100.0/24 via {WAN2} dev out1")).unwrap();
    });
    let moved = second.find(|p, d| d == Direction::Received && p.dst == SRV_A);
    assert!(!moved.is_empty(), "the flow kept its old hop");
    assert!(moved.iter().all(|p| p.src == eip(0)));
}

#[test]
fn a_neighbour_that_announces_a_new_address_is_followed() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 53);
    clients::ask_udp(lab.client(0), 5000, server).unwrap();
    // As a standby router does when it takes over: gratuitous ARP.
    lab.node("wan").sysctl("net.ipv4.conf.gw0.arp_notify", "1").unwrap();
    lab.node("wan").ip("link set gw0 address 02:00:00:00:00:77").unwrap();
    wait_until("the new address to be found", PATIENCE, || {
        clients::ask_udp(lab.client(0), 5000, server).is_ok()
    });
}

#[test]
fn the_first_packet_is_not_lost_when_no_neighbour_is_resolved() {
    let lab = Lab::two_armed(2).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    lab.gw().ip("neigh flush all").unwrap();
    // One datagram, no retry: it waits for the router's address on the way out, the client's on the way in.
    for n in 0..2 {
        let seen = clients::ask_udp(lab.client(n), 0, SocketAddrV4::new(SRV_B, 53)).unwrap();
        assert_eq!(*seen.ip(), eip(0));
    }
    lab.gw().ip("neigh flush all").unwrap();
    let (mut stream, _) = {
        let _echo = Server::tcp_echo(lab.node("srv-b"), any(7)).unwrap();
        let (stream, seen) = clients::connect_tcp(lab.client(0), 0, SocketAddrV4::new(SRV_B, 7)).unwrap();
        (stream, seen)
    };
    lab.gw().ip("neigh flush all").unwrap();
    clients::echo(&mut stream, b"after a flush").unwrap();
}

#[test]
fn u13_too_big_with_df_is_reported_to_the_inside_host_and_tcp_adapts() {
    let topology = Topology { outside_mtu: 1400, ..Topology::default() };
    let lab = Lab::start(topology).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let inside = lab.inside_tap().unwrap();
    assert_eq!(
        clients::ping(lab.client(0), SRV_A, 2, &["-M", "do", "-s", "1372"]).unwrap(),
        2,
        "1400 bytes fit"
    );
    assert_eq!(clients::ping(lab.client(0), SRV_A, 1, &["-M", "do", "-s", "1472"]).unwrap(), 0);
    let report = inside.wait_for(PATIENCE, |p, d| {
        d == Direction::Received && p.icmp == Some((3, 4)) && p.dst == client_addr(0)
    });
    assert!(report.is_some(), "no ICMP 3/4: {:#?}", inside.find(|p, _| p.proto == 1));
    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
}

#[test]
fn u13a_too_big_without_df_is_fragmented() {
    let topology = Topology { outside_mtu: 1400, ..Topology::default() };
    let lab = Lab::start(topology).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let outside = lab.outside_tap().unwrap();
    let dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let socket = lab.client(0).run(|| std::net::UdpSocket::bind(any(0)).unwrap());
    // IP_PMTUDISC_DONT: without DF.
    let dont: libc::c_int = 0;
    // SAFETY: setsockopt(2) reads four bytes of a local.
    unsafe {
        let fd = std::os::fd::AsRawFd::as_raw_fd(&socket);
        let rc = libc::setsockopt(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, (&raw const dont).cast(), 4);
        assert_eq!(rc, 0);
    }
    socket.send_to(&[7; 1472], SocketAddrV4::new(SRV_A, 53)).unwrap();
    wait_until("the whole datagram at the server", PATIENCE, || dns.seen().len() == 1);
    assert_eq!(*dns.seen()[0].ip(), eip(0));
    // The tap is a thread of its own, and may be behind the server.
    let fragments = || outside.find(|p, d| d == Direction::Received && p.fragment);
    wait_until("the fragments on the tap", PATIENCE, || fragments().len() >= 2);
    let fragments = fragments();
    assert!(fragments.iter().all(|p| p.src == eip(0)), "{fragments:?}");
}

#[test]
fn b3_a_ttl_that_ends_at_the_gateway_is_reported_to_the_inside_host() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let inside = lab.inside_tap().unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 1, &["-t", "1"]).unwrap(), 0);
    let report = inside.wait_for(PATIENCE, |p, d| d == Direction::Received && p.icmp == Some((11, 0)));
    let report = report.expect("no ICMP time exceeded");
    assert_eq!((report.src, report.dst), (nat_tests::lab::GW_INSIDE, client_addr(0)));
}

#[test]
fn programs_that_somebody_detaches_are_attached_again_with_an_error_in_the_log() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip().arg("--xdp").arg("native")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 53);
    clients::ask_udp(lab.client(0), 0, server).unwrap();
    let xdp = || lab.gw().output("ip", &["-o", "link"]).unwrap().matches("prog/xdp").count();
    for pin in ["link_xdp_in0", "link_xdp_out0"] {
        let path = gateway.bpffs().join(format!("v{}", nat_common::abi::SCHEMA)).join(pin);
        lab.gw().output("bpftool", &["link", "detach", "pinned", path.to_str().unwrap()]).unwrap();
    }
    wait_until("both programs to be back", PATIENCE, || xdp() == 2);
    wait_until("traffic", PATIENCE, || clients::ask_udp(lab.client(0), 0, server).is_ok());
    let log = gateway.log();
    assert!(log.contains("ERROR") && log.contains("somebody detached natgw's program or a guard"), "{log}");
}

#[test]
fn a_guard_that_somebody_detaches_is_a_fault_and_the_next_start_puts_it_back() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options::one_eip().arg("--persist");
    let mut gateway = Gateway::start(&lab, &options).unwrap();
    gateway.kill9().unwrap();
    let guard = gateway.bpffs().join(format!("v{}/link_guard_egress_out0", nat_common::abi::SCHEMA));
    // Linux before 6.6 has no TCX: the guard is a classic filter, which `status` does not look at.
    let is_filter = !guard.exists();
    let filters = || lab.gw().output("tc", &["filter", "show", "dev", "out0", "egress"]).unwrap();
    if is_filter {
        assert!(filters().contains("guard_egress"));
        lab.gw().output("tc", &["filter", "del", "dev", "out0", "egress"]).unwrap();
        assert!(!filters().contains("guard_egress"));
    } else {
        lab.gw().output("bpftool", &["link", "detach", "pinned", guard.to_str().unwrap()]).unwrap();
        assert!(gateway.say(&["status"]).unwrap().contains("out0 has lost a guard"));
    }
    let again = Gateway::start(&lab, &options).unwrap();
    assert!(!is_filter || filters().contains("guard_egress"));
    assert!(!again.say(&["status"]).unwrap().contains("lost a guard"));
}
