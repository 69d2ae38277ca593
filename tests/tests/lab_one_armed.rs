//! Clients, gateway and router on one segment, the gateway with one interface.

use std::net::SocketAddrV4;

use nat_tests::lab::servers::{DOWNLOAD, Server, any};
use nat_tests::lab::tap::Direction;
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, SRV_B, Topology, clients, eip};

#[test]
fn real_programs_work_through_one_interface() {
    let lab = Lab::start(Topology::one_armed(2)).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    let outside = lab.outside_tap().unwrap();

    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
    for n in [0, 1] {
        let seen = clients::ask_udp(lab.client(n), 5000, SocketAddrV4::new(SRV_B, 53)).unwrap();
        assert_eq!(*seen.ip(), eip(0));
        assert_eq!(clients::ping(lab.client(n), SRV_A, 3, &[]).unwrap(), 3);
    }
    assert!(http.seen().iter().all(|peer| *peer.ip() == eip(0)));
    assert!(outside.find(|p, d| d == Direction::Received && p.src != eip(0)).is_empty());
    assert_eq!(lab.checksum_errors().unwrap(), 0);
    assert_eq!(gateway.flows(&["--proto", "udp"]).unwrap().len(), 2);
}
