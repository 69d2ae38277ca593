//! Real traffic through the tc programs, between interfaces with the offloads that they come with: checksums that nobody has
//! completed, and frames of 64 kB.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use nat_common::checksum;
use nat_tests::fixture::{self, Live, OUT_MAC, ROUTER_MAC, Setup};
use nat_tests::lab::tap::{Direction, Tap};
use nat_tests::lab::{GW_INSIDE, GW_OUTSIDE, Netns, SRV_A, client_addr, eip};
use nat_tests::packet::{ETH, Packet, Parsed};

const PATIENCE: Duration = Duration::from_secs(10);
const PORT: u16 = 7000;

fn setup() -> Setup {
    Setup { ports: (5000, 5099), ..Setup::default() }
}

/// Bytes that no shift or loss leaves as they are.
fn bytes(count: usize) -> Vec<u8> {
    (0..count).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

/// A TCP connection from the client to the server: both ends' sockets.
fn connection(live: &Live) -> (TcpStream, TcpStream) {
    let listener = live.server().run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))).unwrap();
    let accepting = std::thread::spawn(move || listener.accept().unwrap().0);
    let client = live
        .client
        .run(|| TcpStream::connect_timeout(&SocketAddrV4::new(SRV_A, PORT).into(), PATIENCE).unwrap());
    let server = accepting.join().unwrap();
    for socket in [&client, &server] {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
    }
    (client, server)
}

/// Sends `sent` from one socket, and reads it from the other.
fn transfer(mut from: &TcpStream, mut to: &TcpStream, sent: &[u8]) {
    let received = std::thread::scope(|s| {
        s.spawn(move || from.write_all(sent).unwrap());
        let mut received = vec![0; sent.len()];
        to.read_exact(&mut received).unwrap();
        received
    });
    assert!(received == sent, "{} bytes arrived changed", sent.len());
}

/// Bytes of IPv4 of the packets that a frame of TCP is on the wire, and how many these are.
fn on_the_wire(frame: &[u8], segment: usize) -> (u64, u64) {
    let total = usize::from(u16::from_be_bytes([frame[ETH + 2], frame[ETH + 3]]));
    let headers = 20 + usize::from(frame[ETH + 20 + 12] >> 4) * 4;
    let packets = (total - headers).div_ceil(segment).max(1);
    ((total + (packets - 1) * headers) as u64, packets as u64)
}

#[test]
fn tcp_passes_in_frames_of_64_kb_and_is_counted_as_on_the_wire() {
    let live = Live::new(setup()).unwrap();
    let tap = Tap::start(live.server(), "wan").unwrap();
    let (client, server) = connection(&live);
    assert_eq!(server.peer_addr().unwrap().ip(), eip(0));
    let sent = bytes(4 << 20);
    transfer(&client, &server, &sent);
    transfer(&server, &client, &sent);
    // MSS 1460, less 12 bytes of timestamps.
    let wire = |direction| {
        let frames = tap.frames();
        let of = frames.iter().filter(|f| f.direction == direction && f.bytes[ETH + 9] == 6);
        of.map(|f| on_the_wire(&f.bytes, 1448))
            .fold((0, 0), |(bytes, packets), (b, p)| (bytes + b, packets + p))
    };
    let counted = |meter: usize| {
        let stats = live.world.stats().unwrap();
        (stats.bytes[meter], stats.packets[meter])
    };
    // The tap lags behind, and acknowledgements come after the last look at one of the two.
    let close = |(bytes, packets): (u64, u64), (seen_bytes, seen_packets): (u64, u64)| {
        bytes.abs_diff(seen_bytes) < bytes / 100 && packets.abs_diff(seen_packets) < packets / 100 + 5
    };
    for (meter, direction) in [(1, Direction::Received), (3, Direction::Sent)] {
        wait_until(
            || close(counted(meter), wire(direction)),
            || format!("{direction:?}: counted {:?}, on the wire {:?}", counted(meter), wire(direction)),
        );
        let largest = tap.frames().iter().filter(|f| f.direction == direction).map(|f| f.bytes.len()).max();
        assert!(largest > Some(4000), "{direction:?}: no frame stayed whole: {largest:?}");
    }
    assert_eq!(tap.lost().unwrap(), 0);
}

/// What is too big for the way out is a super-packet here: its sender is told, and sends what fits.
#[test]
fn a_sender_of_super_packets_learns_the_path_mtu() {
    let live = Live::new(Setup { outside_mtu: 1000, ..setup() }).unwrap();
    let (client, server) = connection(&live);
    let tap = Tap::start(live.server(), "wan").unwrap();
    transfer(&client, &server, &bytes(1 << 20));
    assert!(tap.frames().iter().any(|f| f.bytes.len() > 1014), "no frame stayed whole");
    assert!(live.world.counters().unwrap()["too_big"] > 0, "nobody was told");
}

fn udp(ns: &Netns) -> UdpSocket {
    let socket = ns.run(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

#[test]
fn udp_of_every_size_arrives_both_ways() {
    let live = Live::new(setup()).unwrap();
    let server = live.server().run(|| UdpSocket::bind((SRV_A, PORT))).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let client = udp(&live.client);
    client.connect((SRV_A, PORT)).unwrap();
    let mut got = [0; 2000];
    for size in [0, 1, 2, 3, 17, 18, 19, 255, 1000, 1471, 1472] {
        let sent = bytes(size);
        client.send(&sent).unwrap();
        let (length, from) = server.recv_from(&mut got).unwrap();
        assert_eq!((&got[..length], from.ip()), (&sent[..], eip(0).into()));
        server.send_to(&sent, from).unwrap();
        let length = client.recv(&mut got).unwrap();
        assert_eq!(got[..length], sent);
    }
    assert_eq!(live.client.counter("Udp", "InCsumErrors").unwrap(), 0);
    assert_eq!(live.server().counter("Udp", "InCsumErrors").unwrap(), 0);
}

#[track_caller]
fn wait_until(is: impl Fn() -> bool, says: impl Fn() -> String) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{}", says());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// An ICMP error as it stands in the frame: from whom, and whether its checksum is right.
fn errors(tap: &Tap) -> Vec<(Ipv4Addr, bool)> {
    let frames = tap.frames();
    let icmp =
        frames.iter().filter(|f| f.direction == Direction::Received && f.bytes.get(ETH + 9) == Some(&1));
    icmp.map(|f| {
        let from: [u8; 4] = f.bytes[ETH + 12..ETH + 16].try_into().unwrap();
        let total = usize::from(u16::from_be_bytes([f.bytes[ETH + 2], f.bytes[ETH + 3]]));
        (from.into(), checksum::full(&f.bytes[ETH + 20..ETH + total]) == 0)
    })
    .collect()
}

/// The checksum of what is quoted was left to be completed; that must not spoil the error's own, whether it is completed or not.
#[test]
fn an_error_about_a_packet_without_checksum_is_whole_in_every_byte() {
    errors_are_whole(true);
}

#[test]
fn and_it_is_when_a_device_completes_that_checksum() {
    errors_are_whole(false);
}

/// With `offload`, whoever gets the error need not look; without, the kernel completes the quoted checksum as it sends.
fn errors_are_whole(offload: bool) {
    let live = Live::new(setup()).unwrap();
    if !offload {
        for device in ["in0", "out0"] {
            live.world.gw().output("ethtool", &["-K", device, "tx", "off"]).unwrap();
        }
    }
    let (inside, outside) =
        (Tap::start(&live.client, "cli").unwrap(), Tap::start(live.server(), "wan").unwrap());
    let client = udp(&live.client);
    client.connect((SRV_A, PORT)).unwrap();
    let server = live.server().run(|| UdpSocket::bind((SRV_A, PORT))).unwrap();
    client.send(b"opens").unwrap();
    let mut got = [0; 2000];
    let (_, from) = server.recv_from(&mut got).unwrap();
    let sizes = [1, 2, 8, 100, 511, 520, 521, 1000, 1471];
    for (socket, tap, gateway, ns) in
        [(&client, &inside, GW_INSIDE, &live.client), (&server, &outside, GW_OUTSIDE, live.server())]
    {
        socket.set_ttl(1).unwrap();
        for (n, size) in sizes.iter().enumerate() {
            // The last error is reported to whoever uses the socket next.
            let _ = socket.take_error();
            let to = if gateway == GW_INSIDE { SocketAddrV4::new(SRV_A, PORT).into() } else { from };
            let sent = if gateway == GW_INSIDE {
                socket.send(&bytes(*size))
            } else {
                socket.send_to(&bytes(*size), to)
            };
            assert!(sent.is_ok() || n > 0, "{sent:?}");
            let _ = socket.take_error();
            let seen = || errors(tap);
            wait_until(|| seen().len() > n, || format!("{} bytes: {:?}", size, tap.frames()));
        }
        let seen = errors(tap);
        assert_eq!(seen, vec![(gateway, true); sizes.len()], "{}", ns.name());
        assert_eq!(ns.counter("Icmp", "InCsumErrors").unwrap(), 0);
        assert_eq!(ns.counter("Icmp", "InTimeExcds").unwrap(), sizes.len() as u64, "{}", ns.name());
    }
}

/// The next packet that leaves by a TUN device, parsed behind an Ethernet header that it does not have.
fn next(tun: &mut std::fs::File) -> Parsed {
    let mut frame = vec![0; ETH + 2000];
    frame[12] = 8;
    let deadline = Instant::now() + PATIENCE;
    let length = loop {
        match tun.read(&mut frame[ETH..]) {
            Ok(length) => break length,
            Err(e) => assert!(Instant::now() < deadline, "nothing left by the TUN device: {e}"),
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    frame.truncate(ETH + length);
    Parsed::from_frame(&frame).unwrap()
}

#[test]
fn a_client_behind_a_device_without_link_layer_header_is_translated_both_ways() {
    let (world, mut tun) = fixture::tun(setup()).unwrap();
    let far = world.far();
    let server = far.run(|| UdpSocket::bind((SRV_A, PORT))).unwrap();
    server.set_read_timeout(Some(PATIENCE)).unwrap();
    let tap = Tap::start(far, "wan").unwrap();
    let ask = Packet::udp(SocketAddrV4::new(client_addr(0), 40_000), SocketAddrV4::new(SRV_A, PORT));
    tun.write_all(&ask.clone().payload("asks").build()[ETH..]).unwrap();
    let mut got = [0; 100];
    let (length, from) = server.recv_from(&mut got).unwrap();
    assert_eq!((&got[..length], from.ip()), (&b"asks"[..], eip(0).into()));
    let sent = tap.wait_for(PATIENCE, |p, _| p.dst == SRV_A).unwrap();
    assert_eq!(
        (sent.smac, sent.dmac, sent.ttl, sent.checksums_ok()),
        (OUT_MAC, ROUTER_MAC, ask.ttl - 1, true)
    );
    server.send_to(b"answers", from).unwrap();
    let back = next(&mut tun);
    assert_eq!(
        (back.source(), back.destination()),
        (SocketAddrV4::new(SRV_A, PORT), SocketAddrV4::new(client_addr(0), 40_000))
    );
    assert_eq!(back.payload, b"answers");
    // What ends here is told to the client.
    tun.write_all(&ask.ttl(1).payload("late").build()[ETH..]).unwrap();
    let told = next(&mut tun);
    assert_eq!(
        (told.src, told.dst, told.icmp, told.checksums_ok()),
        (GW_INSIDE, client_addr(0), Some((11, 0)), true)
    );
    assert_eq!(world.counters().unwrap()["guard"], 0);
}
