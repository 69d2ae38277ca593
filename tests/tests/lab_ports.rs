//! Which EIP and which port a flow gets.

use std::collections::{BTreeSet, HashSet};
use std::net::{SocketAddrV4, UdpSocket};

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients, eip};

#[test]
fn u3_t7_three_hosts_with_the_same_source_port_all_work() {
    let lab = Lab::two_armed(3).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let server = Server::tcp_hold(lab.node("srv-a"), any(80)).unwrap();
    let dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let mut held = Vec::new();
    for n in 0..3 {
        held.push(clients::connect_tcp(lab.client(n), 5000, SocketAddrV4::new(SRV_A, 80)).unwrap());
        clients::ask_udp(lab.client(n), 5000, SocketAddrV4::new(SRV_A, 53)).unwrap();
    }
    for seen in [server.seen(), dns.seen()] {
        assert_eq!(seen.iter().collect::<HashSet<_>>().len(), 3, "three outside tuples: {seen:?}");
        assert!(seen.iter().all(|s| *s.ip() == eip(0)), "{seen:?}");
    }
    let flows = gateway.flows(&["--sport", "5000"]).unwrap();
    assert_eq!(flows.len(), 6, "{flows:#?}");
    let inside: BTreeSet<String> = flows.iter().map(|f| f["inside"].as_str().unwrap().to_owned()).collect();
    assert_eq!(
        inside.into_iter().collect::<Vec<_>>(),
        ["10.0.0.10:5000", "10.0.0.11:5000", "10.0.0.12:5000"]
    );
}

#[test]
fn u2_an_inside_host_keeps_one_eip_and_hosts_spread_over_several() {
    let lab = Lab::two_armed(12).unwrap();
    let _gateway = Gateway::start(&lab, &Options::eips(4)).unwrap();
    let dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let mut used = BTreeSet::new();
    for n in 0..12 {
        let mut of_this_host = BTreeSet::new();
        for _ in 0..20 {
            let seen = clients::ask_udp(lab.client(n), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
            of_this_host.insert(*seen.ip());
        }
        assert_eq!(of_this_host.len(), 1, "client {n}: {of_this_host:?}");
        used.extend(of_this_host);
    }
    assert!(used.iter().all(|ip| (0..4).any(|n| eip(n) == *ip)), "{used:?}");
    assert!(used.len() > 1, "twelve hosts, four EIPs, one used: {used:?}");
    assert_eq!(dns.seen().len(), 240);
}

#[test]
fn p_ports_are_random_not_sequential() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let sockets: Vec<UdpSocket> =
        lab.client(0).run(|| (0..400).map(|_| UdpSocket::bind(any(0)).unwrap()).collect());
    let ports: Vec<u16> = sockets
        .iter()
        .map(|s| clients::ask_udp_on(s, SocketAddrV4::new(SRV_A, 53)).unwrap().port())
        .collect();
    assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 400, "no two live flows share a port");
    assert!(ports.iter().all(|p| *p >= 1024));
    let steps = ports.windows(2).filter(|w| w[0].abs_diff(w[1]) <= 2).count();
    assert!(steps < 10, "{steps} of 399 neighbours: {ports:?}");
    let quarters: HashSet<u16> = ports.iter().map(|p| p / 16_384).collect();
    assert_eq!(quarters.len(), 4, "the whole range is used: {ports:?}");
}

#[test]
fn five_thousand_parallel_connections_without_one_failure() {
    const THREADS: u16 = 50;
    const EACH: u16 = 100;
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let server = Server::tcp_hold(lab.node("srv-a"), any(80)).unwrap();
    let address = SocketAddrV4::new(SRV_A, 80);
    let client = lab.client(0);
    let results: Vec<_> = std::thread::scope(|s| {
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                s.spawn(|| {
                    client.enter().unwrap();
                    (0..EACH).map(|_| clients::connect_here(0, address)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|t| t.join().unwrap()).collect()
    });
    let failed: Vec<_> = results.iter().filter_map(|r| r.as_ref().err()).map(|e| format!("{e:#}")).collect();
    assert!(failed.is_empty(), "{} failed, e.g. {}", failed.len(), failed[0]);
    let sources: HashSet<SocketAddrV4> = results.iter().flatten().map(|(_, seen)| *seen).collect();
    assert_eq!(sources.len(), usize::from(THREADS * EACH), "5,000 different outside tuples");
    assert!(sources.iter().all(|s| *s.ip() == eip(0)));
    assert_eq!(server.seen().len(), sources.len());
    assert_eq!(lab.checksum_errors().unwrap(), 0);
    let stats = gateway.stats().unwrap();
    assert_eq!(stats["flows"]["tcp"].as_u64(), Some(u64::from(THREADS * EACH)), "{stats:#}");
    assert_eq!(stats["port_allocation_errors"].as_u64(), Some(0), "{stats:#}");
}

/// The guess that a claim begins with (whose pool it is) is about the last claim, which was another pool's each time.
#[test]
fn clients_of_different_pools_that_take_turns_keep_to_their_own_eips() {
    const POOLS: &str = r#"
[interfaces]
inside = ["in0"]
outside = ["out0"]
[[pool]]
name = "a"
eips = ["192.0.2.1"]
sources = ["10.0.0.10/32"]
[[pool]]
name = "b"
eips = ["192.0.2.2", "192.0.2.3"]
sources = ["10.0.0.11/32", "10.0.0.12/32"]
"#;
    let lab = Lab::two_armed(3).unwrap();
    let options = Options { config: Some(POOLS.to_owned()), ..Options::default() };
    let gateway = Gateway::start(&lab, &options).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    for _ in 0..30 {
        for (client, own) in [(0, &[eip(0)][..]), (1, &[eip(1), eip(2)]), (2, &[eip(1), eip(2)])] {
            let seen = clients::ask_udp(lab.client(client), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
            assert!(own.contains(seen.ip()), "client {client} got {seen}");
        }
    }
    let list = gateway.say(&["eip", "list", "--json"]).unwrap();
    assert_eq!(list.matches("192.0.2.").count(), 3, "{list}");
}

/// Who saw the ports of a gateway before a restart, which keeps its secret, must not know those after it.
#[test]
fn ports_are_not_the_same_ones_after_a_restart() {
    const ASKED: usize = 60;
    let lab = Lab::two_armed(1).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    // Each CPU has random numbers of its own, and a packet over a veth stays on its sender's.
    let mut first = CpuSet::new();
    first.set(0).unwrap();
    sched_setaffinity(Pid::from_raw(0), &first).unwrap();
    let sockets: Vec<UdpSocket> =
        lab.client(0).run(|| (0..ASKED).map(|_| UdpSocket::bind(any(0)).unwrap()).collect());
    let ports = || -> HashSet<u16> {
        let ask = |s| clients::ask_udp_on(s, SocketAddrV4::new(SRV_A, 53)).unwrap().port();
        sockets.iter().map(ask).collect()
    };
    let options = Options::one_eip().arg("--persist");
    let mut gateway = Gateway::start(&lab, &options).unwrap();
    let before = ports();
    gateway.say(&["flows", "delete", "--all"]).unwrap();
    gateway.kill9().unwrap();
    let again = Gateway::start(&lab, &options).unwrap();
    assert!(again.has_logged("adopted"), "{}", again.log());
    let after = ports();
    let same = before.intersection(&after).count();
    assert!(same <= 3, "{same} of {ASKED} ports are the same: {before:?} {after:?}");
}
