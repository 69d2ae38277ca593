//! What every topology must carry, and what it must not.

use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Netns, SRV_A, bulk, clients};

use crate::at;
use crate::ground::{EIP, Ground};

/// Bytes of a bulk transfer: some hundred super-packets.
const BULK: u64 = 8 << 20;
/// The bulk server's port.
pub(crate) const TRANSFER: u16 = 8000;
/// The port of the server that says whom it sees.
const SAYS: u16 = 80;
const DNS: u16 = 53;
/// How long a name server's answer may take; resolvers ask again after one second or more.
const PROMPT: Duration = Duration::from_millis(900);

/// The servers in `net`.
pub(crate) struct Internet {
    _bulk: Server,
    tcp: Server,
    udp: Server,
}

impl Internet {
    pub(crate) fn start(ground: &Ground) -> Self {
        let net = ground.node("net");
        Self {
            _bulk: Server::bulk(net, any(TRANSFER)).unwrap(),
            tcp: Server::tcp_echo(net, any(SAYS)).unwrap(),
            udp: Server::udp_echo(net, at(SRV_A, DNS)).unwrap(),
        }
    }
}

/// All of it: for each client, then from outside, then what natgw counted.
pub(crate) fn works(ground: &Ground, gateway: &Gateway<'_>, hosts: &[&str]) {
    let internet = Internet::start(ground);
    for name in hosts {
        carries(ground.node(name), EIP);
    }
    let stats = gateway.stats().unwrap();
    let seen = internet.tcp.seen().into_iter().chain(internet.udp.seen());
    assert!(seen.into_iter().all(|peer| *peer.ip() == EIP), "servers saw another source than the EIP");
    agrees(&stats, hosts.len() as u64);
    closed(ground, gateway, hosts);
    assert_eq!(ground.checksum_errors(), 0, "the hosts' kernels counted wrong checksums");
}

/// Pings, questions, and bulk both ways reach the internet from `host`, where they come from `eip`.
pub(crate) fn carries(host: &Netns, eip: Ipv4Addr) {
    // The first packets of a host that nobody knows: no neighbour is resolved yet.
    let asked = Instant::now();
    for _ in 0..3 {
        assert_eq!(*clients::ask_udp(host, 0, at(SRV_A, DNS)).unwrap().ip(), eip);
    }
    assert!(asked.elapsed() < PROMPT, "three answers of a name server took {:?}", asked.elapsed());
    assert_eq!(clients::ping(host, SRV_A, 3, &[]).unwrap(), 3, "pings answered");
    // Nearly the whole MTU, and too much for one packet of any tunnel.
    assert_eq!(clients::ping(host, SRV_A, 2, &["-s", "1300"]).unwrap(), 2, "large pings answered");
    let (mut stream, seen) = clients::connect_tcp(host, 0, at(SRV_A, SAYS)).unwrap();
    assert_eq!(*seen.ip(), eip);
    clients::echo(&mut stream, &[b'x'; 3000]).unwrap();
    bulk::download(host, at(SRV_A, TRANSFER), BULK).unwrap();
    bulk::upload(host, at(SRV_A, TRANSFER), BULK).unwrap();
    clients::echo(&mut stream, b"the first connection still lives").unwrap();
}

/// Everything that came in went out, and it is what the hosts exchanged.
fn agrees(stats: &serde_json::Value, hosts: u64) {
    for unit in ["packets", "bytes"] {
        let of = |meter: &str| stats[unit][meter].as_u64().unwrap();
        assert_eq!(of("source_in"), of("destination_out"), "{unit}: {stats:#}");
        assert_eq!(of("destination_in"), of("source_out"), "{unit}: {stats:#}");
    }
    for meter in ["destination_out", "source_out"] {
        assert!(stats["bytes"][meter].as_u64().unwrap() > hosts * BULK, "{meter}: {stats:#}");
    }
    let drops: u64 = stats["drops"].as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
    assert_eq!(drops, 0, "{stats:#}");
}

/// Nobody outside reaches anybody inside, nor the EIP, unasked.
fn closed(ground: &Ground, gateway: &Gateway<'_>, hosts: &[&str]) {
    let net = ground.node("net");
    let flows = gateway.flows(&[]).unwrap().len();
    assert!(net.run(|| TcpStream::connect_timeout(&at(EIP, 22).into(), Duration::from_millis(300))).is_err());
    assert_eq!(clients::ping(net, EIP, 1, &["-W", "0.3"]).unwrap(), 0, "a ping to the EIP is answered");
    for name in hosts {
        let host = ground.node(name);
        let socket = host.run(|| UdpSocket::bind(any(0))).unwrap();
        let outside: SocketAddrV4 = clients::ask_udp_on(&socket, at(SRV_A, DNS)).unwrap();
        // From another port of the host that the client knows, to the port of the client's own flow.
        let stranger = net.run(|| UdpSocket::bind(at(SRV_A, 0))).unwrap();
        stranger.send_to(b"unasked", outside).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let got = socket.recv_from(&mut [0; 64]);
        assert!(got.is_err(), "{name} received {got:?} from a stranger");
    }
    let now = gateway.flows(&[]).unwrap().len();
    assert_eq!(now, flows + hosts.len(), "a stranger's packets made flows");
}
