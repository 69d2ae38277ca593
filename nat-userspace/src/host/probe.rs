//! Whether another host has an address already: duplicate address detection before an EIP is taken (RFC 5227, 2.1.1).
//!
//! The RFC's timing (three probes, seconds apart) is for hosts that have just been plugged in. A gateway must be up soon, and
//! whoever has the address in a LAN answers within milliseconds: probes go out 50 ms apart, and answers are awaited for 100 ms
//! after the last.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::Ipv4Addr,
    thread,
    time::{Duration, Instant},
};

use super::arp::{Arp, BURST, PAUSE, Purpose, Socket};

/// An address, and where it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    pub(super) addr: Ipv4Addr,
    /// Index of the interface.
    pub(super) ifindex: u32,
    /// Its Ethernet address.
    pub(super) mac: [u8; 6],
}

/// Between two probes of an address.
const ROUND: Duration = Duration::from_millis(50);

/// For the answers to the last ones.
const PATIENCE: Duration = Duration::from_millis(100);

/// Between looks at the answers.
const LOOK: Duration = Duration::from_millis(5);

/// Above that many addresses, two probes of each must do: a round takes a quarter of a second by then.
const MANY: usize = 1024;

/// Asks for all of them at once, and waits for the answers. Returns which addresses another host has, with its Ethernet
/// address. Interfaces that cannot send are skipped: nobody is reached by them.
pub(super) fn probe(questions: &[Question]) -> io::Result<BTreeMap<Ipv4Addr, [u8; 6]>> {
    let socket = Socket::open(Purpose::Listen)?;
    let mut asked = Asked::new(questions);
    let rounds = if questions.len() > MANY { 2 } else { 3 };
    for _ in 0..rounds {
        let begin = Instant::now();
        for (n, burst) in (0u32..).zip(questions.chunks(BURST)) {
            for question in burst {
                // Down, or gone meanwhile.
                let _ = socket.send(question.ifindex, &Arp::probe(question.mac, question.addr));
            }
            asked.listen(&socket, begin + PAUSE * (n + 1));
        }
        asked.listen(&socket, begin + ROUND);
    }
    asked.listen(&socket, Instant::now() + PATIENCE);
    Ok(asked.taken)
}

/// What was asked, and what was answered.
struct Asked {
    questions: HashMap<(u32, Ipv4Addr), [u8; 6]>,
    taken: BTreeMap<Ipv4Addr, [u8; 6]>,
}

impl Asked {
    fn new(questions: &[Question]) -> Self {
        let questions = questions.iter().map(|q| ((q.ifindex, q.addr), q.mac)).collect();
        Self { questions, taken: BTreeMap::new() }
    }

    fn listen(&mut self, socket: &Socket, until: Instant) {
        loop {
            while let Some((ifindex, arp)) = socket.receive() {
                self.hear(ifindex, &arp);
            }
            let Some(left) = until.checked_duration_since(Instant::now()) else { return };
            thread::sleep(left.min(LOOK));
        }
    }

    /// Whoever uses the address has it; whoever probes for it is about to take it (RFC 5227, 2.1.1).
    fn hear(&mut self, ifindex: u32, arp: &Arp) {
        let (mac, sender) = arp.sender;
        let addr = if sender.is_unspecified() { arp.target.1 } else { sender };
        if self.questions.get(&(ifindex, addr)).is_some_and(|ours| *ours != mac) {
            self.taken.insert(addr, mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arp::Operation;
    use super::*;

    const ADDR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const OURS: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const THEIRS: [u8; 6] = [2, 0, 0, 0, 0, 9];

    #[test]
    fn who_uses_or_wants_the_address_on_that_interface_has_it() {
        let heard = |ifindex, arp: Arp| {
            let mut asked = Asked::new(&[Question { addr: ADDR, ifindex: 7, mac: OURS }]);
            asked.hear(ifindex, &arp);
            asked.taken.get(&ADDR).copied()
        };
        let reply = Arp {
            operation: Operation::Reply,
            sender: (THEIRS, ADDR),
            target: (OURS, Ipv4Addr::UNSPECIFIED),
        };
        assert_eq!(heard(7, reply), Some(THEIRS));
        assert_eq!(heard(7, Arp::announcement(Operation::Request, THEIRS, ADDR)), Some(THEIRS));
        assert_eq!(heard(7, Arp::probe(THEIRS, ADDR)), Some(THEIRS), "another that starts just now");
        assert_eq!(heard(8, reply), None, "another network");
        assert_eq!(heard(7, Arp::probe(OURS, ADDR)), None, "our own, as a tap sees it");
        let asking = Arp { operation: Operation::Request, sender: (THEIRS, [192, 0, 2, 5].into()), ..reply };
        assert_eq!(heard(7, Arp { target: ([0; 6], ADDR), ..asking }), None, "somebody asks for it");
    }
}
