//! A captured IPv4 packet, taken apart by etherparse.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{Icmpv4Slice, Ipv4HeaderSlice, TcpSlice, UdpSlice};

use super::bytes::{ETH, checksum};

/// The headers that tests ask about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// Destination Ethernet address.
    pub dmac: [u8; 6],
    /// Source Ethernet address.
    pub smac: [u8; 6],
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Protocol number.
    pub proto: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// Some fragment of a datagram.
    pub fragment: bool,
    /// IPv4 options.
    pub options: Vec<u8>,
    /// Source port; the identifier of an echo request; 0 otherwise.
    pub sport: u16,
    /// Destination port; the identifier of an echo reply; 0 otherwise.
    pub dport: u16,
    /// TCP flags (14th octet).
    pub tcp_flags: u8,
    /// ICMP type and code.
    pub icmp: Option<(u8, u8)>,
    /// Transport checksum as received.
    pub l4_checksum: Option<u16>,
    /// Transport payload; what follows the IP header when the transport is unknown or a later fragment.
    pub payload: Vec<u8>,
    bad: Vec<&'static str>,
}

impl Parsed {
    /// From an Ethernet frame, one 802.1Q tag allowed. `None` if it is not IPv4 or malformed.
    pub fn from_frame(frame: &[u8]) -> Option<Self> {
        let tagged = frame.get(12..14)? == [0x81, 0x00];
        let ip_at = if tagged { ETH + 4 } else { ETH };
        if frame.get(ip_at - 2..ip_at)? != [0x08, 0x00] {
            return None;
        }
        let ip = Ipv4HeaderSlice::from_slice(frame.get(ip_at..)?).ok()?;
        let l4 = frame.get(ip_at + ip.slice().len()..ip_at + usize::from(ip.total_len()))?;
        let offset = ip.fragments_offset().value();
        let mut parsed = Self {
            dmac: frame[..6].try_into().ok()?,
            smac: frame[6..12].try_into().ok()?,
            src: ip.source_addr(),
            dst: ip.destination_addr(),
            proto: ip.protocol().0,
            ttl: ip.ttl(),
            tos: ip.slice()[1],
            id: ip.identification(),
            df: ip.dont_fragment(),
            fragment: ip.more_fragments() || offset != 0,
            options: ip.options().to_vec(),
            sport: 0,
            dport: 0,
            tcp_flags: 0,
            icmp: None,
            l4_checksum: None,
            payload: l4.to_vec(),
            bad: Vec::new(),
        };
        if ip.to_header().calc_header_checksum() != ip.header_checksum() {
            parsed.bad.push("IP CHECKSUM");
        }
        if offset == 0 {
            parsed.transport(l4);
        }
        Some(parsed)
    }

    fn transport(&mut self, l4: &[u8]) {
        let checksum_at = match self.proto {
            6 => TcpSlice::from_slice(l4).ok().map(|t| {
                (self.sport, self.dport) = (t.source_port(), t.destination_port());
                self.tcp_flags = l4[13];
                self.l4_checksum = Some(t.checksum());
                self.payload = t.payload().to_vec();
                16
            }),
            17 => UdpSlice::from_slice_lax(l4).ok().map(|u| {
                (self.sport, self.dport) = (u.source_port(), u.destination_port());
                self.l4_checksum = Some(u.checksum());
                self.payload = u.payload().to_vec();
                6
            }),
            1 => Icmpv4Slice::from_slice(l4).ok().map(|i| {
                let id = u16::from_be_bytes([l4[4], l4[5]]);
                match i.type_u8() {
                    8 => self.sport = id,
                    0 => self.dport = id,
                    _ => {}
                }
                self.icmp = Some((i.type_u8(), i.code_u8()));
                self.l4_checksum = Some(i.checksum());
                self.payload = l4[8..].to_vec();
                2
            }),
            _ => None,
        };
        let udp_without = self.proto == 17 && self.l4_checksum == Some(0);
        if let Some(at) = checksum_at.filter(|_| !self.fragment && !udp_without) {
            let mut segment = l4.to_vec();
            segment[at..at + 2].fill(0);
            if self.l4_checksum != Some(checksum(self.proto, self.src, self.dst, &segment)) {
                self.bad.push("TRANSPORT CHECKSUM");
            }
        }
    }

    /// Whether the IP and transport checksums are right.
    pub fn checksums_ok(&self) -> bool {
        self.bad.is_empty()
    }

    /// Source address and port.
    pub fn source(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.src, self.sport)
    }

    /// Destination address and port.
    pub fn destination(&self) -> SocketAddrV4 {
        SocketAddrV4::new(self.dst, self.dport)
    }
}

impl fmt::Display for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proto = match self.proto {
            1 => "icmp",
            6 => "tcp",
            17 => "udp",
            _ => "ip",
        };
        write!(f, "{proto} {} > {} ttl {}", self.source(), self.destination(), self.ttl)?;
        if self.proto == 6 {
            write!(f, " flags {:#04x}", self.tcp_flags)?;
        }
        if let Some((kind, code)) = self.icmp {
            write!(f, " type {kind}/{code}")?;
        }
        if self.fragment {
            write!(f, " fragment")?;
        }
        for what in &self.bad {
            write!(f, " BAD {what}")?;
        }
        write!(f, " payload {} B", self.payload.len())
    }
}
