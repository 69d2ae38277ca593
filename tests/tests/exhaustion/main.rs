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

/// Asks from every socket, and again where no answer came, until all have theirs or `patience` is over: who has
/// one. A few at a time: what sockets have no room for would look like a refusal.
fn answered(sockets: &[UdpSocket], server: SocketAddrV4, patience: Duration) -> Vec<bool> {
    let mut has = vec![false; sockets.len()];
    let mut buffer = [0u8; 2048];
    for socket in sockets {
        // Answers to an earlier question are not answers to this one.
        while socket.recv_from(&mut buffer).is_ok() {}
    }
    let deadline = Instant::now() + patience;
    while has.contains(&false) && Instant::now() < deadline {
        for (sockets, has) in sockets.chunks(64).zip(has.chunks_mut(64)) {
            for (socket, _) in sockets.iter().zip(&*has).filter(|(_, has)| !**has) {
                socket.send_to(b"?", server).unwrap();
            }
            let next = Instant::now() + Duration::from_millis(50);
            while has.contains(&false) && Instant::now() < next {
                for (socket, has) in sockets.iter().zip(&mut *has) {
                    *has |= socket.recv_from(&mut buffer).is_ok();
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
    has
}

fn count(answers: &[bool]) -> usize {
    answers.iter().filter(|a| **a).count()
}
