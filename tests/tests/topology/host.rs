//! Beside the host's own networking: its firewall, its containers, its published ports.

use std::time::{Duration, Instant};

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{GW_OUTSIDE, Options, SRV_A, clients};

use crate::at;
use crate::ground::Ground;
use crate::traffic::{Internet, carries, works};

/// Docker and most firewalls set the policy of FORWARD to drop. Nothing of a client's is lost: not its first packets either,
/// whose next hops nobody knows yet.
#[test]
fn a_forward_policy_of_drop_costs_no_packet() {
    let ground = Ground::new(&["box-a", "box-b", "lan"]);
    ground.wire(("gw", "in0"), ("lan", "gw"));
    for (n, name) in [(10, "box-a"), (11, "box-b")] {
        ground.veth(("lan", name), (name, "eth0"));
        ground.host_by(name, "eth0", n);
    }
    ground.bridge("lan", "br0", &["gw", "box-a", "box-b"]);
    ground.inside_by("in0");
    ground.outside_wire();
    ground.nft(
        "gw",
        "table ip filter { chain forward { type filter hook forward priority 0; policy drop; }; }",
    );
    let gateway = ground.gateway(&["in0"], &["out0"]);
    let _dns = Server::udp_echo(ground.node("net"), at(SRV_A, 5353)).unwrap();
    for name in ["box-a", "box-b"] {
        ground.ip("gw", "neigh flush all");
        let asked = Instant::now();
        clients::ask_udp(ground.node(name), 0, at(SRV_A, 5353)).unwrap();
        assert!(asked.elapsed() < Duration::from_millis(900), "the first answer took {:?}", asked.elapsed());
        ground.ip("gw", "neigh flush all");
        assert_eq!(clients::ping(ground.node(name), SRV_A, 3, &[]).unwrap(), 3);
    }
    works(&ground, &gateway, &["box-a", "box-b"]);
}

/// A container host whose address is also the EIP: Docker's masquerading and published ports go on while natgw serves clients of
/// its own, and connections that were there before it live.
#[test]
fn the_hosts_own_nat_goes_on_beside_a_shared_eip() {
    let ground = Ground::new(&["box", "docker"]);
    ground.veth(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    ground.outside_wire();
    ground.veth(("gw", "veth1"), ("docker", "eth0"));
    ground.bridge("gw", "docker0", &["veth1"]);
    ground.ip("gw", "addr add 172.17.0.1/16 dev docker0");
    ground.ip("docker", "addr add 172.17.0.2/16 dev eth0\nroute add default via 172.17.0.1");
    ground.node("gw").sysctl("net.ipv4.ip_forward", "1").unwrap();
    ground.nft(
        "gw",
        "table ip nat { \
         chain pre { type nat hook prerouting priority -100; iifname out0 tcp dport 8080 dnat to 172.17.0.2:80; }; \
         chain post { type nat hook postrouting priority 100; ip saddr 172.17.0.0/16 oifname out0 masquerade; }; }",
    );
    let internet = Internet::start(&ground);
    let docker = ground.node("docker");
    let _published = Server::tcp_echo(docker, any(80)).unwrap();
    // Docker holds each published port with a process, docker-proxy, which the rule above goes past.
    let _proxy = Server::tcp_hold(ground.node("gw"), any(8080)).unwrap();
    carries(docker, GW_OUTSIDE);
    let (mut before, _) = clients::connect_tcp(docker, 0, at(SRV_A, 80)).unwrap();
    let options = Options { eips: vec![GW_OUTSIDE.to_string()], ..Options::default() };
    let _gateway = ground.gateway_with(&["in0"], &["out0"], &options);
    clients::echo(&mut before, b"older than natgw").unwrap();
    carries(docker, GW_OUTSIDE);
    carries(ground.node("box"), GW_OUTSIDE);
    let (mut stream, seen) = clients::connect_tcp(ground.node("net"), 0, at(GW_OUTSIDE, 8080)).unwrap();
    assert_ne!(*seen.ip(), GW_OUTSIDE, "the container sees who asks");
    clients::echo(&mut stream, &[b'y'; 3000]).unwrap();
    clients::echo(&mut before, b"older than natgw, still").unwrap();
    drop(internet);
}
