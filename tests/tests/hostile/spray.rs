//! Sources by the thousand: what the daemon and the neighbour table do for them is bounded (invariant 8).

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use nat_tests::lab::raw::{M_MAC, Raw};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients, mac_text};
use nat_tests::packet::Packet;

use super::at;

const SOURCES: u16 = 3000;

fn source(n: u16) -> Ipv4Addr {
    let [a, b] = n.to_be_bytes();
    Ipv4Addr::new(10, 200, a, b)
}

/// Neighbours that natgw keeps (protocol 110).
fn kept(lab: &Lab) -> usize {
    lab.gw().output("ip", &["neigh", "show", "protocol", "110"]).unwrap().lines().count()
}

/// Pings from 3,000 addresses of a /16, all M's: each answer makes its source a next hop. Once, ten thousand of them
/// stood in the neighbour table, beyond `gc_thresh3`, with 184 lines in the log.
#[test]
fn three_thousand_sources_are_not_three_thousand_neighbours() {
    let lab = Lab::two_armed(3).unwrap();
    lab.gw().ip("addr add 10.200.0.1/16 dev in0").unwrap();
    // M answers for every one of them.
    lab.client(2).ip(&format!("link set eth0 address {}", mac_text(M_MAC))).unwrap();
    lab.client(2).ip("route add local 10.200.0.0/16 dev eth0").unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let asks = || clients::ask_udp(lab.client(1), 0, at(SRV_A, 53));
    asks().unwrap();
    let m =
        Raw::at(lab.client(2), "eth0", M_MAC, nat_tests::lab::tap::mac_of(lab.gw(), "in0").unwrap()).unwrap();
    let (begun, lines) = (Instant::now(), gateway.log().lines().count());
    let mut most = 0;
    for n in 2..SOURCES + 2 {
        m.send(Packet::echo_request(source(n), SRV_A, 7)).unwrap();
        if n % 100 == 0 {
            // 3,000 a second.
            std::thread::sleep((Duration::from_micros(333) * u32::from(n)).saturating_sub(begun.elapsed()));
            most = most.max(kept(&lab));
        }
        if n % 1000 == 0 {
            asks().expect("B is served during the spray");
        }
    }
    let end = Instant::now() + Duration::from_secs(3);
    while Instant::now() < end {
        most = most.max(kept(&lab));
        asks().expect("B is served after the spray");
        std::thread::sleep(Duration::from_millis(100));
    }
    let said = gateway.log();
    let new: Vec<&str> = said.lines().skip(lines).collect();
    assert!(most < 1024, "natgw kept {most} neighbours");
    assert!(new.len() <= 20, "{} log lines, e.g. {:#?}", new.len(), &new[..20]);
}
