//! Gratuitous ARP: tells the neighbours that an address is here now.

use std::{io, net::Ipv4Addr};

use tokio::time::{Interval, MissedTickBehavior, interval};

use super::arp::{Arp, BURST, Operation, PAUSE, Purpose, Socket};
use super::links::Link;

/// Announces addresses, no faster than switches bear ([`BURST`]).
pub(super) struct Announcer {
    socket: Socket,
    pace: Interval,
    left: usize,
}

impl Announcer {
    pub(super) fn open() -> io::Result<Self> {
        let mut pace = interval(PAUSE);
        // What natgw does between two bursts is no reason to wait longer.
        pace.set_missed_tick_behavior(MissedTickBehavior::Burst);
        Ok(Self { socket: Socket::open(Purpose::Send)?, pace, left: 0 })
    }

    /// Broadcasts `addr` is-at `link.mac`, as a request and as a reply: some stacks listen to the one only, some to
    /// the other (RFC 5227, 3).
    pub(super) async fn announce(&mut self, link: &Link, addr: Ipv4Addr) -> io::Result<()> {
        for operation in [Operation::Request, Operation::Reply] {
            if self.left == 0 {
                self.pace.tick().await;
                self.left = BURST;
            }
            self.left -= 1;
            self.socket.send(link.index, &Arp::announcement(operation, link.mac, addr))?;
        }
        Ok(())
    }
}
