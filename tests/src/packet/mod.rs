//! Packets as data: a description with sane defaults, every field of which a test may spoil.
//!
//! Checksums come from etherparse, not from nat-common: what is under test must not check itself.

mod diff;
mod parsed;

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::checksum::Sum16BitWords;
use etherparse::{Ethernet2Header, Ipv4Header, SingleVlanHeader};

pub use diff::diff;
pub use parsed::Parsed;

/// TCP flags, as in the header's 14th octet.
pub mod flags {
    /// FIN.
    pub const FIN: u8 = 0x01;
    /// SYN.
    pub const SYN: u8 = 0x02;
    /// RST.
    pub const RST: u8 = 0x04;
    /// PSH.
    pub const PSH: u8 = 0x08;
    /// ACK.
    pub const ACK: u8 = 0x10;
}

/// Ethernet header length.
pub const ETH: usize = Ethernet2Header::LEN;

/// Length of a VLAN tag.
pub const TAG: usize = SingleVlanHeader::LEN;

/// Length of an IPv4 header without options.
pub const IPV4: usize = Ipv4Header::MIN_LEN;

/// What follows the IPv4 header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer4 {
    /// TCP.
    Tcp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
        /// Of [`flags`].
        flags: u8,
        /// Sequence number.
        seq: u32,
        /// Acknowledgement number.
        ack: u32,
        /// Padded to 32 bits by the caller.
        options: Vec<u8>,
    },
    /// UDP.
    Udp {
        /// Source port.
        sport: u16,
        /// Destination port.
        dport: u16,
    },
    /// ICMP.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Identifier and sequence number, or whatever the type has there.
        rest: [u8; 4],
    },
    /// Some other protocol: no header of its own, no checksum.
    Raw(u8),
}

/// Fields that a test sets to what they should not be. `None`: the right value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spoil {
    /// IP version.
    pub version: Option<u8>,
    /// IP header length in words.
    pub ihl: Option<u8>,
    /// IP total length.
    pub total_length: Option<u16>,
    /// IP header checksum.
    pub ip_checksum: Option<u16>,
    /// TCP, UDP or ICMP checksum; 0 for UDP without.
    pub l4_checksum: Option<u16>,
    /// UDP length.
    pub udp_length: Option<u16>,
    /// TCP data offset in words.
    pub tcp_offset: Option<u8>,
    /// Cut the frame to this many bytes.
    pub truncate: Option<usize>,
}

/// An IPv4 packet in an Ethernet frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Destination Ethernet address.
    pub dmac: [u8; 6],
    /// Source Ethernet address.
    pub smac: [u8; 6],
    /// 802.1Q tag.
    pub vlan: Option<u16>,
    /// Source address.
    pub src: Ipv4Addr,
    /// Destination address.
    pub dst: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Identification.
    pub id: u16,
    /// Don't fragment.
    pub df: bool,
    /// More fragments.
    pub mf: bool,
    /// Fragment offset in units of 8 bytes.
    pub offset: u16,
    /// IPv4 options, padded to 32 bits by the caller.
    pub options: Vec<u8>,
    /// Transport header.
    pub l4: Layer4,
    /// What follows it.
    pub payload: Vec<u8>,
    /// Deliberate mistakes.
    pub spoil: Spoil,
}

impl Packet {
    /// A TCP segment.
    pub fn tcp(src: SocketAddrV4, dst: SocketAddrV4, flags: u8) -> Self {
        let l4 = Layer4::Tcp {
            sport: src.port(),
            dport: dst.port(),
            flags,
            seq: 1_000,
            ack: if flags & flags::ACK == 0 { 0 } else { 2_000 },
            options: Vec::new(),
        };
        Self::new(*src.ip(), *dst.ip(), l4)
    }

    /// A UDP datagram.
    pub fn udp(src: SocketAddrV4, dst: SocketAddrV4) -> Self {
        Self::new(*src.ip(), *dst.ip(), Layer4::Udp { sport: src.port(), dport: dst.port() })
    }

    /// An ICMP echo request.
    pub fn echo_request(src: Ipv4Addr, dst: Ipv4Addr, id: u16) -> Self {
        Self::echo(8, src, dst, id)
    }

    /// An ICMP echo reply.
    pub fn echo_reply(src: Ipv4Addr, dst: Ipv4Addr, id: u16) -> Self {
        Self::echo(0, src, dst, id)
    }

    /// An ICMP message of any type; `rest` is the header's second word.
    pub fn icmp(src: Ipv4Addr, dst: Ipv4Addr, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        Self::new(src, dst, Layer4::Icmp { kind, code, rest })
    }

    /// Any protocol number.
    pub fn raw(src: Ipv4Addr, dst: Ipv4Addr, proto: u8) -> Self {
        Self::new(src, dst, Layer4::Raw(proto))
    }

    fn echo(kind: u8, src: Ipv4Addr, dst: Ipv4Addr, id: u16) -> Self {
        let [a, b] = id.to_be_bytes();
        Self::icmp(src, dst, kind, 0, [a, b, 0, 1])
    }

    fn new(src: Ipv4Addr, dst: Ipv4Addr, l4: Layer4) -> Self {
        Self {
            dmac: [0; 6],
            smac: [0x02, 0, 0, 0, 0, 0x99],
            vlan: None,
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            df: true,
            mf: false,
            offset: 0,
            options: Vec::new(),
            l4,
            payload: b"natgw lab".to_vec(),
            spoil: Spoil::default(),
        }
    }

    /// Ethernet addresses.
    #[must_use]
    pub fn macs(mut self, smac: [u8; 6], dmac: [u8; 6]) -> Self {
        (self.smac, self.dmac) = (smac, dmac);
        self
    }

    /// Changes any field in the middle of a chain.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    /// Time to live.
    #[must_use]
    pub fn ttl(self, ttl: u8) -> Self {
        self.with(|p| p.ttl = ttl)
    }

    /// DSCP and ECN.
    #[must_use]
    pub fn tos(self, tos: u8) -> Self {
        self.with(|p| p.tos = tos)
    }

    /// Payload.
    #[must_use]
    pub fn payload(self, payload: impl Into<Vec<u8>>) -> Self {
        self.with(|p| p.payload = payload.into())
    }

    /// Source and destination ports; an ICMP echo keeps its identifier for whichever of the two it is.
    #[must_use]
    pub fn ports(self, new_sport: u16, new_dport: u16) -> Self {
        self.with(|p| match &mut p.l4 {
            Layer4::Tcp { sport, dport, .. } | Layer4::Udp { sport, dport } => {
                (*sport, *dport) = (new_sport, new_dport);
            }
            Layer4::Icmp { kind, rest, .. } => {
                let id = if *kind == 8 { new_sport } else { new_dport };
                rest[..2].copy_from_slice(&id.to_be_bytes());
            }
            Layer4::Raw(_) => {}
        })
    }

    /// Source and destination addresses.
    #[must_use]
    pub fn addresses(self, src: Ipv4Addr, dst: Ipv4Addr) -> Self {
        self.with(|p| (p.src, p.dst) = (src, dst))
    }

    /// IANA protocol number.
    pub fn proto(&self) -> u8 {
        match self.l4 {
            Layer4::Tcp { .. } => 6,
            Layer4::Udp { .. } => 17,
            Layer4::Icmp { .. } => 1,
            Layer4::Raw(n) => n,
        }
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        let l4 = self.transport();
        let mut frame = Vec::with_capacity(ETH + 4 + 60 + l4.len());
        frame.extend(self.dmac);
        frame.extend(self.smac);
        if let Some(tag) = self.vlan {
            frame.extend([0x81, 0x00]);
            frame.extend(tag.to_be_bytes());
        }
        frame.extend([0x08, 0x00]);
        frame.extend(self.ip_header(l4.len()));
        frame.extend(l4);
        if let Some(length) = self.spoil.truncate {
            frame.truncate(length);
        }
        frame
    }

    fn ip_header(&self, l4_length: usize) -> Vec<u8> {
        let words = 5 + self.options.len() / 4;
        let total = u16::try_from(words * 4 + l4_length).unwrap_or(u16::MAX);
        let ihl = self.spoil.ihl.unwrap_or(u8::try_from(words).unwrap_or(15));
        let mut h = vec![self.spoil.version.unwrap_or(4) << 4 | ihl, self.tos];
        h.extend(self.spoil.total_length.unwrap_or(total).to_be_bytes());
        h.extend(self.id.to_be_bytes());
        let fragment = u16::from(self.df) << 14 | u16::from(self.mf) << 13 | self.offset;
        h.extend(fragment.to_be_bytes());
        h.extend([self.ttl, self.proto(), 0, 0]);
        h.extend(self.src.octets());
        h.extend(self.dst.octets());
        h.extend(&self.options);
        let sum = Sum16BitWords::new().add_slice(&h).ones_complement().to_be();
        h[10..12].copy_from_slice(&self.spoil.ip_checksum.unwrap_or(sum).to_be_bytes());
        h
    }

    fn transport(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let checksum_at = match &self.l4 {
            Layer4::Tcp { sport, dport, flags, seq, ack, options } => {
                out.extend(sport.to_be_bytes());
                out.extend(dport.to_be_bytes());
                out.extend(seq.to_be_bytes());
                out.extend(ack.to_be_bytes());
                let offset = u8::try_from(5 + options.len() / 4).unwrap_or(15);
                out.extend([self.spoil.tcp_offset.unwrap_or(offset) << 4, *flags]);
                out.extend([0xfa, 0xf0, 0, 0, 0, 0]);
                out.extend(options);
                Some(16)
            }
            Layer4::Udp { sport, dport } => {
                out.extend(sport.to_be_bytes());
                out.extend(dport.to_be_bytes());
                let length = u16::try_from(8 + self.payload.len()).unwrap_or(u16::MAX);
                out.extend(self.spoil.udp_length.unwrap_or(length).to_be_bytes());
                out.extend([0, 0]);
                Some(6)
            }
            Layer4::Icmp { kind, code, rest } => {
                out.extend([*kind, *code, 0, 0]);
                out.extend(rest);
                Some(2)
            }
            Layer4::Raw(_) => None,
        };
        out.extend(&self.payload);
        if let Some(at) = checksum_at {
            let sum =
                self.spoil.l4_checksum.unwrap_or_else(|| checksum(self.proto(), self.src, self.dst, &out));
            out[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        out
    }
}

/// The transport checksum of `segment`, whose checksum field is zero. UDP's computed 0 is 0xffff.
pub(crate) fn checksum(proto: u8, src: Ipv4Addr, dst: Ipv4Addr, segment: &[u8]) -> u16 {
    let mut sum = Sum16BitWords::new();
    if proto != 1 {
        let length = u16::try_from(segment.len()).unwrap_or(u16::MAX);
        sum = sum.add_4bytes(src.octets()).add_4bytes(dst.octets());
        sum = sum.add_2bytes([0, proto]).add_2bytes(length.to_be_bytes());
    }
    sum = sum.add_slice(segment);
    if proto == 17 { sum.to_ones_complement_with_no_zero().to_be() } else { sum.ones_complement().to_be() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_parses_back_with_right_checksums() {
        let (a, b) =
            (SocketAddrV4::new([10, 0, 0, 2].into(), 40_000), SocketAddrV4::new([192, 0, 2, 9].into(), 53));
        for packet in [
            Packet::tcp(a, b, flags::SYN).with(|p| p.options = vec![1, 1, 1, 0]),
            Packet::udp(a, b).ttl(9).tos(0xb9).payload("odd"),
            Packet::echo_request(*a.ip(), *b.ip(), 77),
        ] {
            let parsed = Parsed::from_frame(&packet.build()).expect("IPv4");
            assert!(parsed.checksums_ok(), "{parsed}");
            assert_eq!(
                (parsed.src, parsed.dst, parsed.ttl, parsed.tos),
                (packet.src, packet.dst, packet.ttl, packet.tos)
            );
            assert_eq!(parsed.options, packet.options);
            assert_eq!(parsed.payload, packet.payload);
        }
        let broken = Packet::udp(a, b).with(|p| p.spoil.l4_checksum = Some(1)).build();
        assert!(!Parsed::from_frame(&broken).expect("IPv4").checksums_ok());
        let none = Packet::udp(a, b).with(|p| p.spoil.l4_checksum = Some(0)).build();
        assert_eq!(Parsed::from_frame(&none).expect("IPv4").l4_checksum, Some(0));
    }
}
