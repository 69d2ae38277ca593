//! Two uplinks with an EIP each: every client gets out whatever the routes are, each EIP is seen on its own link only, and when a
//! link dies its clients move to the other. And a client keeps its EIP when natgw starts again.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, Tap};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, SRV_B, Topology, WAN, WAN2, clients, eip, wait_until};

const PATIENCE: Duration = Duration::from_secs(10);
/// The EIP on the second link.
const EIP2: Ipv4Addr = Ipv4Addr::new(192, 0, 3, 1);
/// Addresses that the one client has: with so many, both EIPs are somebody's.
const CLIENTS: u8 = 32;

/// Each EIP's packets leave by its own link.
const SOURCE_RULES: &str = "route add default via 192.0.2.254 table 101\nroute add default via 192.0.3.254 table 102\n\
                            rule add from 192.0.2.1 table 101\nrule add from 192.0.3.1 table 102";

fn lab() -> Lab {
    let lab = Lab::start(Topology { second_outside: true, ..Topology::default() }).unwrap();
    lab.gw().ip("route del 203.0.113.0/24\nroute del default").unwrap();
    lab.client(0)
        .ip(&(0..CLIENTS)
            .map(|n| format!("addr add {}/24 dev eth0", client(n)))
            .collect::<Vec<_>>()
            .join("\n"))
        .unwrap();
    lab
}

fn client(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, 100 + n)
}

/// A gateway with both EIPs in one pool, whose links it finds by itself.
fn options() -> Options {
    Options { eips: vec![eip(0).to_string(), EIP2.to_string()], ..Options::default() }
}

/// The EIP that a client is seen with at `server`, if it gets an answer.
fn try_ask(lab: &Lab, client: Ipv4Addr, server: Ipv4Addr) -> Option<Ipv4Addr> {
    let socket = lab.client(0).run(|| UdpSocket::bind((client, 0))).unwrap();
    clients::ask_udp_on(&socket, SocketAddrV4::new(server, 53)).ok().map(|seen| *seen.ip())
}

/// The EIP of each client at each server. All must be answered.
fn ask_all(lab: &Lab, servers: &[Ipv4Addr]) -> BTreeMap<(Ipv4Addr, Ipv4Addr), Ipv4Addr> {
    let pairs =
        (0..CLIENTS).map(client).flat_map(|client| servers.iter().map(move |server| (client, *server)));
    pairs
        .map(|(client, server)| {
            let seen = try_ask(lab, client, server);
            ((client, server), seen.unwrap_or_else(|| panic!("{client} gets no answer from {server}")))
        })
        .collect()
}

/// What leaves the gateway on both links.
struct Links(Tap, Tap);

impl Links {
    fn start(lab: &Lab) -> Self {
        Self(Tap::start(lab.node("wan"), "gw0").unwrap(), Tap::start(lab.node("wan"), "gw1").unwrap())
    }

    fn assert_own_only(&self) {
        for (tap, other) in [(&self.0, EIP2), (&self.1, eip(0))] {
            let strays = tap.find(|p, d| d == Direction::Received && p.src == other);
            assert!(strays.is_empty(), "{other} was sent out of the other link: {strays:#?}");
        }
    }
}

#[test]
fn every_client_gets_out_and_each_eip_by_its_own_link_whatever_the_routes() {
    let several = "route add default nexthop via 192.0.2.254 dev out0 nexthop via 192.0.3.254 dev out1";
    let undone =
        "route flush table 101\nroute flush table 102\nrule del from 192.0.2.1\nrule del from 192.0.3.1";
    let lab = lab();
    // Without any route natgw would not be ready.
    lab.gw().ip(SOURCE_RULES).unwrap();
    let _gateway = Gateway::start(&lab, &options()).unwrap();
    let _servers = ["srv-a", "srv-b"].map(|s| Server::udp_echo(lab.node(s), any(53)).unwrap());
    let links = Links::start(&lab);
    let servers = [SRV_A, SRV_B];
    for (routes, after, eips) in [
        (SOURCE_RULES, undone, 2),
        (several, "route del default", 2),
        ("route add default via 192.0.3.254", "route del default", 1),
        (
            "route add default via 192.0.2.254 metric 10\nroute add default via 192.0.3.254 metric 20",
            "route del default metric 10\nroute del default metric 20",
            1,
        ),
    ] {
        if routes != SOURCE_RULES {
            lab.gw().ip(routes).unwrap();
        }
        let seen = ask_all(&lab, &servers);
        let mut used: Vec<_> = seen.values().collect();
        used.sort();
        used.dedup();
        assert_eq!(used.len(), eips, "{routes}: {seen:?}");
        if routes == SOURCE_RULES {
            let one =
                |client| servers.iter().map(|s| seen[&(client, *s)]).all(|eip| eip == seen[&(client, SRV_A)]);
            assert!((0..CLIENTS).map(client).all(one), "a client has one EIP (RFC 4787 REQ-2): {seen:?}");
        }
        links.assert_own_only();
        lab.gw().ip(after).unwrap();
    }
}

/// A client whose EIP is on the second link.
fn client_of_second_link(lab: &Lab) -> Ipv4Addr {
    (0..CLIENTS).map(client).find(|c| try_ask(lab, *c, SRV_A) == Some(EIP2)).unwrap()
}

fn moves_when_the_second_link_dies(routes: &str, die: &str, revive: &str) {
    let lab = lab();
    lab.gw().ip(routes).unwrap();
    let gateway = Gateway::start(&lab, &options()).unwrap();
    let _udp = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let _tcp = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let links = Links::start(&lab);
    let server = SocketAddrV4::new(SRV_A, 7);
    let moving = client_of_second_link(&lab);
    lab.client(0).ip(&format!("route replace default via 10.0.0.1 src {moving}")).unwrap();
    let (mut stream, seen) = clients::connect_tcp(lab.client(0), 0, server).unwrap();
    assert_eq!(*seen.ip(), EIP2);
    clients::echo(&mut stream, b"before").unwrap();

    lab.gw().ip(die).unwrap();
    let died = Instant::now();
    wait_until("a new flow by the other link", Duration::from_secs(1), || {
        try_ask(&lab, moving, SRV_A) == Some(eip(0))
    });
    println!("a new flow works {:?} after the link died", died.elapsed());
    let (mut new, seen) = clients::connect_tcp(lab.client(0), 0, server).unwrap();
    assert_eq!(*seen.ip(), eip(0));
    clients::echo(&mut new, b"after").unwrap();
    // The old connection is told, instead of hanging until it times out.
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    wait_until("the reset", Duration::from_secs(1), || {
        let told = stream.write_all(b"more").and_then(|()| stream.read(&mut [0; 16]));
        told.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset)
    });
    assert!(gateway.stats().unwrap()["answers"]["reset"].as_u64() >= Some(1));
    assert!(gateway.stats().unwrap()["internals"]["wrong_link"].as_u64() >= Some(1));
    links.assert_own_only();

    lab.gw().ip(revive).unwrap();
    wait_until("the client to be back on its link", PATIENCE, || try_ask(&lab, moving, SRV_A) == Some(EIP2));
    links.assert_own_only();
}

#[test]
fn clients_move_when_the_link_of_their_source_rule_goes_down() {
    let down = "link set out1 down";
    // Nothing but the two rules: without its own table's route, the EIP of the second link has no way at all.
    let up = "link set out1 up\nroute add default via 192.0.3.254 table 102";
    moves_when_the_second_link_dies(SOURCE_RULES, down, up);
}

#[test]
fn clients_move_when_one_of_two_default_routes_is_withdrawn() {
    let routes = "route add default via 192.0.2.254 metric 20\nroute add default via 192.0.3.254 metric 10";
    let (withdraw, again) =
        ("route del default via 192.0.3.254 metric 10", "route add default via 192.0.3.254 metric 10");
    moves_when_the_second_link_dies(routes, withdraw, again);
}

#[test]
fn a_link_that_comes_back_with_another_index_is_its_eips_link_again() {
    let lab = lab();
    lab.gw().ip(SOURCE_RULES).unwrap();
    let gateway = Gateway::start(&lab, &options()).unwrap();
    let _udp = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let links = Links::start(&lab);
    let moving = client_of_second_link(&lab);
    lab.gw().ip("link del out1").unwrap();
    wait_until("a new flow by the other link", PATIENCE, || try_ask(&lab, moving, SRV_A) == Some(eip(0)));
    links.assert_own_only();
    let wan = lab.node("wan").name();
    lab.gw().ip(&format!("link add out1 type veth peer name gw1 netns {wan}\nlink set out1 up")).unwrap();
    lab.node("wan").ip("addr add 192.0.3.254/24 dev gw1\nlink set gw1 up").unwrap();
    nat_tests::lab::topology::tune("gw", lab.gw()).unwrap();
    nat_tests::lab::topology::tune("wan", lab.node("wan")).unwrap();
    lab.gw().ip("addr add 192.0.3.100/24 dev out1\nroute add default via 192.0.3.254 table 102").unwrap();
    wait_until("the client to be back on its link", PATIENCE, || try_ask(&lab, moving, SRV_A) == Some(EIP2));
    let text = gateway.say(&["eip", "list", "--json"]).unwrap();
    let list: serde_json::Value = serde_json::from_str(&text).unwrap();
    let link = |eip: Ipv4Addr| {
        let all = list["eips"].as_array().unwrap();
        all.iter().find(|e| e["eip"] == eip.to_string()).unwrap()["outside"].clone()
    };
    assert_eq!((link(eip(0)), link(EIP2)), ("out0".into(), "out1".into()));
}

#[test]
fn a_pool_leaves_by_the_link_that_it_names_or_not_at_all() {
    let lab = lab();
    lab.gw()
        .ip(&format!("route add default via {WAN} metric 10\nroute add default via {WAN2} metric 20"))
        .unwrap();
    let config = format!(
        "[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\", \"out1\"]\n\
         [[pool]]\nname = \"second\"\neips = [\"{EIP2}\"]\nsources = [\"10.0.0.0/24\"]\noutside = \"out1\"\n"
    );
    let gateway = Gateway::start(&lab, &Options { config: Some(config), ..Options::default() }).unwrap();
    let _udp = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let links = Links::start(&lab);
    let seen = ask_all(&lab, &[SRV_A]);
    assert!(seen.values().all(|eip| *eip == EIP2), "{seen:?}");
    lab.gw().ip("route del default metric 20").unwrap();
    wait_until("nothing to leave any more", PATIENCE, || try_ask(&lab, client(0), SRV_A).is_none());
    assert!(gateway.drops("no_route").unwrap() > 0);
    assert!(gateway.stats().unwrap()["internals"]["wrong_link"].as_u64() > Some(0));
    links.assert_own_only();
}

#[test]
fn a_client_keeps_its_eip_when_natgw_starts_again_without_its_flows() {
    let lab = lab();
    lab.gw().ip(&format!("route add default via {WAN}")).unwrap();
    let _udp = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let seen = |eips| {
        let mut gateway = Gateway::start(&lab, &Options::eips(eips)).unwrap();
        let seen = ask_all(&lab, &[SRV_A]);
        assert!(gateway.stop().unwrap().success());
        seen
    };
    let eip_added = eip(4);
    let before = seen(4);
    assert_eq!(seen(4), before, "other EIPs after a restart");
    let moved = seen(5).iter().filter(|(who, eip)| before[who] != **eip && **eip != eip_added).count();
    assert!(moved <= 3, "{moved} of {CLIENTS} clients went to another EIP than the one that was added");
}
