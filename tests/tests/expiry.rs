//! How flows end: at their deadline, by hand, or by a close; and what may follow.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nat_common::{Port, Tuple};
use nat_tests::fixture::Table;
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, Injector, mac_of};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, Tap, client_addr, clients, eip, wait_until};
use nat_tests::packet::{Packet, Parsed, flags};
use nat_userspace::datapath::inspect;
use nat_userspace::datapath::pins::Pins;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(8);
const SHORT: Duration = Duration::from_millis(300);

/// A client and a server that consist of packets: every segment is the test's own.
struct Wire {
    client: Injector,
    server: Injector,
    inside: Tap,
    outside: Tap,
    macs: [[u8; 6]; 4],
}

impl Wire {
    fn open(lab: &Lab) -> Self {
        // The hosts' own kernels know nothing of these connections and would reset them.
        for host in [lab.client(0), lab.node("wan")] {
            host.ip(&format!("route add blackhole {GHOST}/32")).unwrap();
        }
        Self {
            client: Injector::open(lab.client(0), "eth0").unwrap(),
            server: Injector::open(lab.node("wan"), "gw0").unwrap(),
            inside: lab.inside_tap().unwrap(),
            outside: lab.outside_tap().unwrap(),
            macs: [
                mac_of(lab.client(0), "eth0").unwrap(),
                mac_of(lab.gw(), lab.topology().inside()[0]).unwrap(),
                mac_of(lab.node("wan"), "gw0").unwrap(),
                mac_of(lab.gw(), lab.topology().outside()[0]).unwrap(),
            ],
        }
    }

    fn send_out(&self, packet: Packet) {
        self.client.send(&packet.macs(self.macs[0], self.macs[1]).build()).unwrap();
    }

    fn send_in(&self, packet: Packet) {
        self.server.send(&packet.macs(self.macs[2], self.macs[3]).build()).unwrap();
    }

    /// Sends from inside; the packet as it left, if it did.
    fn out(&self, packet: Packet, patience: Duration) -> Option<Parsed> {
        self.outside.clear();
        let (id, dst) = (packet.id, packet.dst);
        self.send_out(packet);
        self.outside.wait_for(patience, |p, d| d == Direction::Received && p.dst == dst && p.id == id)
    }

    /// Sends from outside; the packet as it reached the inside, if it did.
    fn back(&self, packet: Packet, patience: Duration) -> Option<Parsed> {
        self.inside.clear();
        let (id, src) = (packet.id, packet.src);
        self.send_in(packet);
        self.inside.wait_for(patience, |p, d| d == Direction::Received && p.src == src && p.id == id)
    }
}

/// No host has this address: nobody but the test answers for it.
const GHOST: std::net::Ipv4Addr = std::net::Ipv4Addr::new(198, 51, 100, 99);

fn inside(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(client_addr(0), port)
}

fn remote(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(GHOST, port)
}

fn timeouts(values: &[&str]) -> Options {
    values.iter().fold(Options::one_eip(), |o, v| o.arg("--timeout").arg(v))
}

fn idle_timeouts(gateway: &Gateway<'_>) -> u64 {
    gateway.stats().unwrap()["connections"]["idle_timeouts"].as_u64().unwrap()
}

fn state_of(gateway: &Gateway<'_>, sport: u16) -> Option<String> {
    let flows = gateway.flows(&["--sport", &sport.to_string()]).unwrap();
    assert!(flows.len() <= 1, "{flows:#?}");
    flows.first().map(|f| f["state"].as_str().unwrap().to_owned())
}

/// With the daemon stopped nobody collects: what is dead is dead by its stamp alone.
#[test]
fn u5_expiry_is_exact_whether_or_not_the_collector_comes() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &timeouts(&["udp=1500ms", "udp_unreplied=1500ms"])).unwrap();
    let wire = Wire::open(&lab);
    for collector in ["running", "stopped"] {
        if collector == "stopped" {
            gateway.signal(nix::sys::signal::Signal::SIGSTOP).unwrap();
        }
        let (a, b) = (inside(4000), remote(53));
        let out = wire.out(Packet::udp(a, b), PATIENCE).expect("translated");
        let answer = || Packet::udp(b, out.source());
        wire.back(answer(), PATIENCE).expect("answered");
        let mut touched = Instant::now();

        // The deadline is a moment in time: never before 1.5 s after the last packet, and up to half a second later.
        for _ in 0..2 {
            std::thread::sleep(Duration::from_millis(1400).saturating_sub(touched.elapsed()));
            let sent = touched.elapsed();
            let alive = wire.back(answer(), SHORT);
            // On a machine this busy nothing is known.
            assert!(alive.is_some() || sent > Duration::from_millis(1490), "early: dead after {sent:?}");
            touched = Instant::now();
        }
        std::thread::sleep(Duration::from_secs(2).saturating_sub(touched.elapsed()));
        assert_eq!(wire.back(answer(), SHORT), None, "collector {collector}: past the deadline");

        let revived = wire.out(Packet::udp(a, b), PATIENCE);
        if let Some(revived) = revived {
            let at = Instant::now();
            let again = Packet::udp(b, revived.source());
            let back = wire.back(again, SHORT);
            assert!(
                back.is_some() || at.elapsed() > Duration::from_secs(1),
                "collector {collector}: revived"
            );
        } else {
            panic!("collector {collector}: a packet from inside finds the way again");
        }
    }
    gateway.signal(nix::sys::signal::Signal::SIGCONT).unwrap();
    assert!(gateway.drops("expired").unwrap() >= 1, "{:#}", gateway.stats().unwrap());
}

#[test]
fn ports_of_expired_flows_are_freed_and_used_again() {
    let lab = Lab::two_armed(1).unwrap();
    let options = timeouts(&["udp=1s", "udp_unreplied=1s"]).arg("--ports").arg("20000-20007");
    let gateway = Gateway::start(&lab, &options).unwrap();
    let server = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let address = SocketAddrV4::new(SRV_A, 53);
    let sockets = |n: usize| -> Vec<UdpSocket> {
        lab.client(0).run(|| (0..n).map(|_| UdpSocket::bind(any(0)).unwrap()).collect())
    };
    for socket in sockets(8) {
        clients::ask_udp_on(&socket, address).unwrap();
    }
    let before = idle_timeouts(&gateway);
    // All eight ports are taken; a ninth host gets one as soon as the dead are buried.
    let ninth = sockets(1).remove(0);
    ninth.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    wait_until("a port", PATIENCE, || {
        ninth.send_to(b"?", address).unwrap();
        ninth.recv_from(&mut [0; 64]).is_ok()
    });
    wait_until("eight flows that ended idle", PATIENCE, || idle_timeouts(&gateway) >= before + 8);
    for socket in sockets(7) {
        clients::ask_udp_on(&socket, address).unwrap();
    }
    assert!(server.seen().iter().all(|s| (20_000..=20_007).contains(&s.port())));
    wait_until("no flow", PATIENCE, || gateway.flows(&[]).unwrap().is_empty());
    wait_until("an empty table", PATIENCE, || gateway.stats().unwrap()["flows"]["udp"].as_u64() == Some(0));
}

#[test]
fn a_flow_lives_on_by_traffic_in_either_direction() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &timeouts(&["udp=2s", "udp_unreplied=2s", "icmp=10s"])).unwrap();
    let wire = Wire::open(&lab);
    let out = wire.out(Packet::udp(inside(4000), remote(53)), PATIENCE).expect("translated");
    let begun = Instant::now();
    // RFC 4787 REQ-6 asks for outbound refresh; inbound-only streams (video, say) live on by their own packets.
    while begun.elapsed() < Duration::from_secs(5) {
        let sent = Instant::now();
        let came = wire.back(Packet::udp(remote(53), out.source()), SHORT);
        assert!(came.is_some() || sent.elapsed() > Duration::from_secs(1), "after {:?}", begun.elapsed());
        std::thread::sleep(Duration::from_millis(200));
    }
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("replied"));
}

#[test]
fn t5_an_idle_connection_outlives_the_shorter_timeouts() {
    let lab = Lab::two_armed(1).unwrap();
    let short = ["tcp_new=1s", "tcp_closing=1s", "tcp_closed=1s", "udp=1s", "udp_unreplied=1s", "icmp=1s"];
    let gateway = Gateway::start(&lab, &timeouts(&short)).unwrap();
    let _server = Server::tcp_echo(lab.node("srv-a"), any(80)).unwrap();
    let wire = Wire::open(&lab);
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 5000, SocketAddrV4::new(SRV_A, 80)).unwrap();
    wire.out(Packet::tcp(inside(5001), remote(80), flags::SYN), PATIENCE).expect("translated");
    assert_eq!(state_of(&gateway, 5001).as_deref(), Some("new"));
    wait_until("the half-open one is gone", PATIENCE, || state_of(&gateway, 5001).is_none());
    // Idleness itself is the subject.
    std::thread::sleep(Duration::from_secs(2));
    clients::echo(&mut stream, b"still there?").unwrap();
    assert_eq!(state_of(&gateway, 5000).as_deref(), Some("established"));
    let stats = gateway.stats().unwrap();
    assert_eq!(stats["drops"]["expired"].as_u64(), Some(0), "{stats:#}");
    assert_eq!(idle_timeouts(&gateway), 0, "a half-open connection never was one");
}

/// SYN, SYN-ACK, ACK; the outside end.
fn handshake(wire: &Wire, a: SocketAddrV4, b: SocketAddrV4) -> SocketAddrV4 {
    let end = wire.out(Packet::tcp(a, b, flags::SYN), PATIENCE).expect("SYN").source();
    wire.back(Packet::tcp(b, end, flags::SYN | flags::ACK), PATIENCE).expect("SYN-ACK");
    wire.out(Packet::tcp(a, b, flags::ACK), PATIENCE).expect("ACK");
    end
}

#[test]
fn x3_a_reset_is_translated_and_data_after_it_still_flows() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    let (a, b) = (inside(4000), remote(80));
    let end = handshake(&wire, a, b);
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("established"));
    let reset = wire.back(Packet::tcp(b, end, flags::RST), PATIENCE).expect("the client must learn of it");
    assert_eq!(reset.tcp_flags, flags::RST);
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("closed"));
    // It may have been forged (RFC 5961), and so may what follows it: the inside host decides, not the gateway.
    wire.back(Packet::tcp(b, end, flags::ACK | flags::PSH).payload("me too"), PATIENCE).expect("data in");
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("closed"), "the outside cannot take it back");
    wire.out(Packet::tcp(a, b, flags::ACK | flags::PSH).payload("still here"), PATIENCE).expect("data out");
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("established"), "the inside host goes on");
    wire.back(Packet::tcp(b, end, flags::ACK | flags::PSH).payload("me too"), PATIENCE).expect("data in");
}

#[test]
fn a1_a_new_connection_on_a_closed_tuple_starts_over() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &timeouts(&["tcp_closing=1h", "tcp_closed=1h"])).unwrap();
    let wire = Wire::open(&lab);
    let (a, b) = (inside(4000), remote(80));
    let end = handshake(&wire, a, b);
    wire.out(Packet::tcp(a, b, flags::FIN | flags::ACK), PATIENCE).expect("FIN");
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("closing"));
    wire.back(Packet::tcp(b, end, flags::FIN | flags::ACK), PATIENCE).expect("FIN back");
    wire.out(Packet::tcp(a, b, flags::ACK).payload([]), PATIENCE).expect("last ACK");
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("closed"));
    let before = gateway.stats().unwrap();

    let syn = wire.out(Packet::tcp(a, b, flags::SYN), PATIENCE).expect("SYN");
    assert_eq!(syn.source(), end, "the same outside end: the server may be in TIME_WAIT for it");
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("new"));
    assert_eq!(handshake(&wire, a, b), end);
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("established"));
    let after = gateway.stats().unwrap();
    let count = |s: &Value, what: &str| s["connections"][what].as_u64().unwrap();
    assert!(count(&after, "attempts") > count(&before, "attempts"), "{after:#}");
    assert_eq!(count(&after, "established"), count(&before, "established") + 1, "{after:#}");
    let flow = &gateway.flows(&["--sport", "4000"]).unwrap()[0];
    assert!(flow["packets_out"].as_u64() < Some(6), "counted from its own beginning: {flow:#}");
}

#[test]
fn flows_delete_cuts_live_flows_and_the_next_packet_makes_new_ones() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    let (a, b) = (inside(4000), remote(80));
    let end = handshake(&wire, a, b);
    let (c, d) = (inside(4001), remote(53));
    let udp = wire.out(Packet::udp(c, d), PATIENCE).expect("UDP").source();
    wire.back(Packet::udp(d, udp), PATIENCE).expect("UDP back");
    wire.out(Packet::udp(inside(4002), d), PATIENCE).expect("a bystander");
    assert_eq!(gateway.flows(&[]).unwrap().len(), 3);

    for sport in ["4000", "4001"] {
        let said = gateway.say(&["flows", "delete", "--sport", sport, "--json"]).unwrap();
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["deleted"].as_u64(), Some(1), "{said}");
    }
    assert_eq!(gateway.flows(&[]).unwrap().len(), 1, "the bystander");
    assert_eq!(wire.back(Packet::udp(d, udp), SHORT), None, "the remote end is cut off");
    assert_eq!(wire.back(Packet::tcp(b, end, flags::ACK), SHORT), None);
    assert_eq!(wire.out(Packet::tcp(a, b, flags::ACK), SHORT), None, "no SYN, no flow");

    let udp = wire.out(Packet::udp(c, d), PATIENCE).expect("a new UDP flow").source();
    wire.back(Packet::udp(d, udp), PATIENCE).expect("that is answered");
    let end = handshake(&wire, a, b);
    assert_eq!(*end.ip(), eip(0));
    assert_eq!(gateway.flows(&[]).unwrap().len(), 3);
    let flow = &gateway.flows(&["--sport", "4000"]).unwrap()[0];
    assert_eq!(flow["packets_out"].as_u64(), Some(2), "not the old flow's count: {flow:#}");
    let stats = gateway.stats().unwrap();
    assert_eq!(stats["flows"]["tcp"].as_u64(), Some(1), "{stats:#}");
    assert_eq!(stats["flows"]["udp"].as_u64(), Some(2), "{stats:#}");
}

/// Two CPUs created a flow at once, and one birth was undone: of it a dead half is left, whose other half is the winner's.
#[test]
fn the_collector_buries_what_an_undone_birth_left_and_nothing_else() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &timeouts(&["icmp=1s"])).unwrap();
    let wire = Wire::open(&lab);
    let end = handshake(&wire, inside(4000), remote(80));
    let table = Table::pinned(&Pins::new(gateway.bpffs())).unwrap();
    let (key, mut half) = table.entries().into_iter().find(|(_, entry)| !entry.is_outbound()).unwrap();
    half.last = inspect::now().dead_for_good();
    table.insert(&Tuple { dport: Port::new(end.port() ^ 1), ..key }, &half).unwrap();
    let taken = || table.taken().unwrap().load(Ordering::SeqCst);
    assert_eq!(taken(), 3);
    wait_until("the half is buried", PATIENCE * 2, || taken() == 2);
    assert_eq!(state_of(&gateway, 4000).as_deref(), Some("established"));
    wire.back(Packet::tcp(remote(80), end, flags::ACK), PATIENCE).expect("the flow lives on");
}
