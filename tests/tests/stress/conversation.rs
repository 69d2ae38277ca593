//! Flows whose every packet says whose it is, so that a translation can be judged by payload alone.

use std::net::{Ipv4Addr, SocketAddrV4};

use nat_common::{Addr, Port, Side, Tuple};
use nat_tests::fixture::{CLIENT_MAC, IN_MAC, OUT_MAC, ROUTER_MAC};
use nat_tests::lab::{SRV_A, SRV_B, client_addr};
use nat_tests::packet::{Packet, Parsed};

/// Clients; their addresses follow each other.
pub const CLIENTS: u8 = 8;

/// The source port (or identifier) of conversation 0. Each has its own, whatever the client: an address and a
/// port that come from two different entries give themselves away.
const FIRST_PORT: u16 = 10_000;

/// One inside endpoint and the one remote endpoint it talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// Its number, which its payloads carry.
    pub number: u16,
}

impl Conversation {
    /// IANA number: TCP, UDP and ICMP take turns.
    pub const fn proto(self) -> u8 {
        [6, 17, 1][self.number as usize % 3]
    }

    /// The inside end.
    pub const fn inside(self) -> SocketAddrV4 {
        SocketAddrV4::new(client_addr((self.number % CLIENTS as u16) as u8), FIRST_PORT + self.number)
    }

    /// The remote end. ICMP has no port there.
    pub const fn remote(self) -> SocketAddrV4 {
        let ip = if (self.number / 24).is_multiple_of(2) { SRV_A } else { SRV_B };
        SocketAddrV4::new(ip, if self.proto() == 1 { 0 } else { 443 })
    }

    /// Which remote endpoint and protocol it shares ports with: below [`Self::DESTINATIONS`].
    pub const fn destination(self) -> usize {
        (self.number / 24 % 2) as usize * 3 + self.number as usize % 3
    }

    /// Different answers of [`Self::destination`].
    pub const DESTINATIONS: usize = 6;

    /// The conversation of which this is the inside end, if it is one's.
    pub fn of(inside: SocketAddrV4) -> Option<Self> {
        let number = inside.port().checked_sub(FIRST_PORT)?;
        Some(Self { number }).filter(|c| c.inside() == inside)
    }

    /// The key of its outbound entry.
    pub fn key(self) -> Tuple {
        let (inside, remote) = (self.inside(), self.remote());
        Tuple {
            src: Addr::from(*inside.ip()),
            dst: Addr::from(*remote.ip()),
            sport: Port::new(inside.port()),
            dport: Port::new(remote.port()),
            proto: self.proto(),
            side: Side::INSIDE,
            state: 0,
        }
    }

    /// A frame from inside.
    pub fn question(self, tcp_flags: u8) -> Vec<u8> {
        let (inside, remote) = (self.inside(), self.remote());
        let packet = match self.proto() {
            6 => Packet::tcp(inside, remote, tcp_flags),
            17 => Packet::udp(inside, remote),
            _ => Packet::echo_request(*inside.ip(), *remote.ip(), inside.port()),
        };
        packet.macs(CLIENT_MAC, IN_MAC).payload(self.number.to_be_bytes()).build()
    }

    /// A frame from its remote end to `outside`.
    pub fn answer(self, outside: SocketAddrV4, tcp_flags: u8) -> Vec<u8> {
        let remote = self.remote();
        let packet = match self.proto() {
            6 => Packet::tcp(remote, outside, tcp_flags),
            17 => Packet::udp(remote, outside),
            _ => Packet::echo_reply(*remote.ip(), *outside.ip(), outside.port()),
        };
        packet.macs(ROUTER_MAC, OUT_MAC).payload(self.number.to_be_bytes()).build()
    }

    /// Judges a question that was forwarded: the outside end it was given, or what is wrong.
    pub fn judge_question(self, frame: &[u8], eips: &[Ipv4Addr]) -> Result<SocketAddrV4, String> {
        let out = parse(frame)?;
        let wrong = |what: &str| Err(format!("{self:?}: {what}: {out}"));
        if out.payload != self.number.to_be_bytes() {
            return wrong("another payload");
        }
        if (out.dst, out.dport) != (*self.remote().ip(), self.remote().port()) {
            return wrong("sent to another remote end");
        }
        if !eips.contains(&out.src) {
            return wrong("source is no EIP");
        }
        if (out.smac, out.dmac) != (OUT_MAC, ROUTER_MAC) {
            return wrong("sent to another station");
        }
        Ok(out.source())
    }

    /// Judges an answer that was forwarded: the conversation whose inside end it was sent to, or what is wrong.
    pub fn judge_answer(self, frame: &[u8]) -> Result<Self, String> {
        let out = parse(frame)?;
        let wrong = |what: &str| Err(format!("{self:?}: {what}: {out}"));
        if out.payload != self.number.to_be_bytes() {
            return wrong("another payload");
        }
        if (out.src, out.sport) != (*self.remote().ip(), self.remote().port()) {
            return wrong("comes from another remote end");
        }
        if (out.smac, out.dmac) != (IN_MAC, CLIENT_MAC) {
            return wrong("sent to another station");
        }
        match Self::of(out.destination()) {
            Some(to) if to.destination() == self.destination() => Ok(to),
            Some(to) => wrong(&format!("sent to {to:?}, which never spoke to this remote end")),
            None => wrong("an inside address and port that do not belong together"),
        }
    }
}

/// A wrong checksum is the mark of a delta that belongs to another entry.
fn parse(frame: &[u8]) -> Result<Parsed, String> {
    let parsed = Parsed::from_frame(frame).ok_or_else(|| format!("not IPv4 any more: {frame:02x?}"))?;
    if parsed.checksums_ok() { Ok(parsed) } else { Err(format!("checksums: {parsed}")) }
}
