//! The packet that an ICMP error quotes.

use nat_common::{Addr, Port, Proto, Tuple, icmp};

use super::{IPV4_MAX, IPV4_MIN, Ipv4, TRANSPORT_MIN, load};
use crate::{frame::View, work::packet::Packet};

/// A quoted packet, as it stands in the frame: what its error is about.
#[derive(Clone, Copy)]
pub struct Embedded {
    /// Its tuple, on the side where the error arrived. Ports or identifier as its sender sent them.
    pub tuple: Tuple,
}

impl Embedded {
    /// Reads the packet that the ICMP error at hand quotes. `None` when it is cut short, or is none that a flow consists of.
    #[inline(always)]
    pub fn of<V: View>(frame: V, packet: &Packet) -> Option<Self> {
        let at = usize::from(packet.l4);
        if at > V::LINK + IPV4_MAX {
            return None;
        }
        let inner = frame.start() + at + TRANSPORT_MIN;
        if inner + IPV4_MIN + TRANSPORT_MIN > frame.end() {
            return None;
        }
        // SAFETY: IPV4_MIN bytes from `inner` are in bounds.
        let header = unsafe { Ipv4::load(inner as *const u8) };
        let transport = inner + header.header();
        if header.header() < IPV4_MIN || transport + TRANSPORT_MIN > frame.end() {
            return None;
        }
        let l4 = transport as *const u8;
        // SAFETY: TRANSPORT_MIN bytes from `l4` are in bounds.
        let (sport, dport) = unsafe {
            match Proto::from_number(header.proto)? {
                Proto::Icmp => match load::<u8>(l4, 0) {
                    icmp::ECHO_REQUEST => (load::<Port>(l4, 4), Port { be: 0 }),
                    _ => return None,
                },
                Proto::Tcp | Proto::Udp => (load::<Port>(l4, 0), load::<Port>(l4, 2)),
            }
        };
        let Ipv4 { src, dst, proto, .. } = header;
        let tuple = Tuple { src, dst, sport, dport, proto, side: packet.tuple.side, state: 0 };
        Some(Self { tuple })
    }

    /// The tuple of an answer to the quoted packet, which arrives where the error did: the key of the flow that it is about.
    #[inline(always)]
    pub fn answer(&self) -> Tuple {
        let Tuple { src, dst, sport, dport, .. } = self.tuple;
        Tuple { src: dst, dst: src, sport: dport, dport: sport, ..self.tuple }
    }
}

/// Whether the packet whose network header is at offset `at` is an ICMP error about one of whose addresses `is` says so. An
/// error that is not readable up to those addresses counts as one.
#[inline(always)]
pub fn quotes<V: View>(frame: V, at: usize, is: impl Fn(Addr) -> bool) -> bool {
    let ip = frame.start() + at;
    if ip + IPV4_MIN > frame.end() {
        return false;
    }
    // SAFETY: IPV4_MIN bytes from `ip` are in bounds.
    let outer = unsafe { Ipv4::load(ip as *const u8) };
    if outer.proto != Proto::Icmp as u8 {
        return false;
    }
    let message = ip + outer.header();
    if message + TRANSPORT_MIN > frame.end() {
        return true;
    }
    // SAFETY: TRANSPORT_MIN bytes from `message` are in bounds.
    if !icmp::is_error(unsafe { load(message as *const u8, 0) }) {
        return false;
    }
    if message + TRANSPORT_MIN + IPV4_MIN > frame.end() {
        return true;
    }
    // SAFETY: IPV4_MIN bytes after the ICMP header are in bounds.
    let quoted = unsafe { Ipv4::load((message + TRANSPORT_MIN) as *const u8) };
    is(quoted.src) || is(quoted.dst)
}
