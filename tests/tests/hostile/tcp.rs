//! What an outsider who sees nothing can do to a connection: neither end it, nor shorten its life, nor keep it when it
//! is over.

use std::net::SocketAddrV4;
use std::time::{Duration, Instant};

use nat_tests::lab::{Gateway, Lab, Options, client_addr, wait_until};
use nat_tests::packet::{Packet, flags};

use super::wire::{GHOST, Wire, flow, state};
use super::{PATIENCE, at};

const FIRST: u16 = 20_000;
const LAST: u16 = 21_023;
/// RFC 5382 REQ-5.
const TWO_HOURS: f64 = 2.0 * 3600.0;

fn timeouts(values: &[&str]) -> Options {
    values.iter().fold(Options::one_eip(), |o, v| o.arg("--timeout").arg(v))
}

fn client() -> SocketAddrV4 {
    at(client_addr(0), 4000)
}

fn server() -> SocketAddrV4 {
    at(GHOST, 80)
}

/// A segment without data.
fn bare(src: SocketAddrV4, dst: SocketAddrV4, kind: u8) -> Packet {
    Packet::tcp(src, dst, kind).payload(Vec::new())
}

/// Both sides say something, as they would if nothing had happened.
fn both_talk_on(wire: &Wire, end: SocketAddrV4) {
    let data = flags::ACK | flags::PSH;
    for _ in 0..2 {
        wire.out(Packet::tcp(client(), server(), data).payload("still here"), PATIENCE).expect("data out");
        wire.back(Packet::tcp(server(), end, data).payload("me too"), PATIENCE).expect("data in");
    }
    wire.out(bare(client(), server(), flags::ACK), PATIENCE).expect("an acknowledgement");
}

/// One segment with these flags to every port that the flow may have.
fn blind(kinds: &[u8]) {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options::one_eip().arg("--ports").arg(&format!("{FIRST}-{LAST}"));
    let gateway = Gateway::start(&lab, &options).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.handshake(client().port());
    both_talk_on(&wire, end);
    assert!(state(&gateway, 4000).1 > TWO_HOURS, "established: {:?}", state(&gateway, 4000));
    for kind in kinds {
        for port in FIRST..=LAST {
            let segment = bare(server(), at(*end.ip(), port), *kind).with(|p| p.id = 7);
            wire.server.send(segment).unwrap();
        }
        wire.watch.settle();
    }
    both_talk_on(&wire, end);
    let (name, seconds) = state(&gateway, 4000);
    assert_eq!(name, "established", "after {kinds:?} to every port");
    assert!(seconds > TWO_HOURS, "it has {seconds} s to live");
}

/// Invariant 5: a FIN that nobody sent takes nothing from a connection whose ends talk on. Once, it made it `closing`
/// for good, with four minutes.
#[test]
fn a_blind_fin_to_every_port_shortens_nothing() {
    blind(&[flags::FIN, flags::FIN | flags::ACK]);
}

/// The same for RST, and for both one after the other.
#[test]
fn a_blind_reset_to_every_port_shortens_nothing() {
    blind(&[flags::RST, flags::RST | flags::ACK, flags::FIN, flags::RST]);
}

/// The same for segments that begin a connection.
#[test]
fn a_blind_syn_to_every_port_shortens_nothing() {
    blind(&[flags::SYN, flags::SYN | flags::ACK, flags::SYN | flags::FIN, 0]);
}

/// A half-closed connection in use (`ssh host command < file`, HTTP/1.0 uploads) is a connection: RFC 5382 REQ-5.
#[test]
fn a_half_closed_connection_in_use_lives_as_long_as_an_open_one() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.handshake(client().port());
    wire.out(bare(client(), server(), flags::FIN | flags::ACK), PATIENCE).expect("FIN");
    for _ in 0..3 {
        let data = Packet::tcp(server(), end, flags::ACK | flags::PSH).payload("the answer goes on");
        wire.back(data, PATIENCE).expect("data in");
        wire.out(bare(client(), server(), flags::ACK), PATIENCE).expect("its acknowledgement");
    }
    let (name, seconds) = state(&gateway, 4000);
    assert!(seconds > TWO_HOURS, "{name}, it has {seconds} s to live");
}

/// A control: a forged FIN into a half-closed connection makes it look closed, and still does not cut it off while it
/// is in use.
#[test]
fn a_blind_fin_does_not_cut_a_half_closed_connection_in_use() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &timeouts(&["tcp_closed=1s", "tcp_closing=1s"])).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.handshake(client().port());
    wire.out(bare(client(), server(), flags::FIN | flags::ACK), PATIENCE).expect("FIN");
    wire.back(bare(server(), end, flags::FIN), PATIENCE).expect("the forged FIN");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3) {
        let round = Instant::now();
        let data = Packet::tcp(server(), end, flags::ACK | flags::PSH).payload("the answer goes on");
        let came = wire.back(data, Duration::from_millis(300));
        let went = wire.out(bare(client(), server(), flags::ACK), Duration::from_millis(300));
        // On a machine that stood still for most of a second, the flow may be over in earnest.
        assert!(came.is_some() && went.is_some() || round.elapsed() > Duration::from_millis(700), "cut off");
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Forges inbound segments of a flow, ten a second, until it is gone.
fn is_not_kept(gateway: &Gateway<'_>, wire: &Wire, end: SocketAddrV4, kinds: &[u8], what: &str) {
    let begun = Instant::now();
    while flow(gateway, 4000).is_some() {
        let held = begun.elapsed();
        assert!(
            held < Duration::from_secs(10),
            "{what}: kept for {held:?} by forged segments, with a second to live"
        );
        for kind in kinds {
            wire.server.send(Packet::tcp(server(), end, *kind).with(|p| p.id = 9)).unwrap();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

const ALL_KINDS: &[u8] = &[flags::ACK, flags::ACK | flags::PSH, flags::RST, flags::FIN | flags::ACK, 0];

/// X7, RFC 7857 2: nothing from outside keeps a closed flow.
#[test]
fn forged_segments_do_not_keep_a_closed_flow() {
    let lab = Lab::two_armed(1).unwrap();
    let short = ["tcp_closed=1s", "tcp_closing=1s"];
    let options = timeouts(&short).arg("--ports").arg(&format!("{FIRST}-{FIRST}"));
    let gateway = Gateway::start(&lab, &options).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.handshake(client().port());
    wire.out(bare(client(), server(), flags::FIN | flags::ACK), PATIENCE).expect("FIN");
    wire.back(bare(server(), end, flags::FIN | flags::ACK), PATIENCE).expect("FIN back");
    wire.out(bare(client(), server(), flags::ACK), PATIENCE).expect("last ACK");
    assert_eq!(state(&gateway, 4000).0, "closed");
    is_not_kept(&gateway, &wire, end, ALL_KINDS, "closed by FIN");
    // The one port for this destination is free again.
    let syn = Packet::tcp(at(client_addr(0), 4001), server(), flags::SYN);
    wait_until("a new connection", PATIENCE, || wire.out(syn.clone(), Duration::from_millis(100)).is_some());
}

/// The same after the client's own RST.
#[test]
fn forged_segments_do_not_keep_a_reset_flow() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &timeouts(&["tcp_closed=1s", "tcp_closing=1s"])).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.handshake(client().port());
    wire.out(bare(client(), server(), flags::RST | flags::ACK), PATIENCE).expect("RST");
    assert_eq!(state(&gateway, 4000).0, "closed");
    is_not_kept(&gateway, &wire, end, ALL_KINDS, "closed by RST");
}

/// The same before the handshake is complete.
#[test]
fn forged_segments_do_not_keep_a_half_open_flow() {
    let lab = Lab::two_armed(1).unwrap();
    let short = ["tcp_new=1s", "tcp_closed=1s", "tcp_closing=1s"];
    let gateway = Gateway::start(&lab, &timeouts(&short)).unwrap();
    let wire = Wire::open(&lab);
    let end = wire.out(bare(client(), server(), flags::SYN), PATIENCE).expect("SYN").source();
    assert_eq!(state(&gateway, 4000).0, "new");
    is_not_kept(&gateway, &wire, end, ALL_KINDS, "half open");
}
