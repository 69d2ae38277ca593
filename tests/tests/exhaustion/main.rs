//! What happens when ports, or the table, run out: new flows are refused and counted, nothing else suffers, and
//! nobody can burn a CPU by asking for what is not there.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

mod cost;
mod hammer;
mod ports;
mod table;

use std::net::{SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nat_tests::lab::servers::any;
use nat_tests::lab::{Gateway, Netns};
use nat_userspace::datapath::inspect::Inspect;
use nat_userspace::datapath::pins::Pins;

/// The gateway's maps.
fn inspect(gateway: &Gateway<'_>) -> Inspect {
    Inspect::open(&Pins::new(gateway.bpffs())).unwrap()
}

/// Sockets of a client, each a flow of its own.
fn sockets(client: &Netns, count: usize) -> Vec<UdpSocket> {
    client.run(|| {
        (0..count)
            .map(|_| {
                let socket = UdpSocket::bind(any(0)).unwrap();
                socket.set_nonblocking(true).unwrap();
                socket
            })
            .collect()
    })
}

/// Asks from every socket, then waits until all have their answer or `patience` is over: who has one. A
/// datagram that the machine loses under load is asked again only by the caller.
fn answered(sockets: &[UdpSocket], server: SocketAddrV4, patience: Duration) -> Vec<bool> {
    let mut has = vec![false; sockets.len()];
    let mut buffer = [0u8; 2048];
    for (n, socket) in sockets.iter().enumerate() {
        // Answers to an earlier question are not answers to this one.
        while socket.recv_from(&mut buffer).is_ok() {}
        socket.send_to(b"?", server).unwrap();
        // No more in flight than sockets have room for.
        if n % 64 == 63 {
            std::thread::yield_now();
        }
    }
    let deadline = Instant::now() + patience;
    while has.contains(&false) && Instant::now() < deadline {
        for (socket, has) in sockets.iter().zip(&mut has) {
            *has |= socket.recv_from(&mut buffer).is_ok();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    has
}

fn count(answers: &[bool]) -> usize {
    answers.iter().filter(|a| **a).count()
}
