//! Where header fields are in a frame without VLAN tags, and the numbers that stand there.
//!
//! Lengths, offsets and numbers come from network-types. Its header types are not laid over frames: their fields are
//! arrays of bytes, which the BPF target reads and writes byte by byte, and programs that are measured, or measure,
//! have no time for that.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::{IpProto, Ipv4Hdr},
    udp::UdpHdr,
};

/// Ethernet, IPv4 without options, UDP.
pub const HEADERS: usize = EthHdr::LEN + Ipv4Hdr::LEN + UdpHdr::LEN;

/// The ethertype of IPv4, as it stands in the frame.
pub const ETHERTYPE_IPV4: u16 = EtherType::Ipv4 as u16;

/// The protocol number of UDP.
pub const UDP: u8 = IpProto::Udp as u8;

/// Version 4, and a header of five words.
pub const VERSION_AND_IHL: u8 = 0x45;

/// `More fragments` and the fragment offset, as they stand in the frame.
pub const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

/// `Don't fragment` and nothing else, as it stands in the frame.
pub const DONT_FRAGMENT: u16 = 0x4000u16.to_be();

/// A TTL of 64 hops and UDP, as they stand in the frame.
pub const TTL_AND_UDP: u16 = u16::from_be_bytes([64, UDP]).to_be();

/// Fields of the Ethernet header.
pub mod eth {
    use network_types::eth::EthHdr;

    /// Length of the header.
    pub const LEN: usize = EthHdr::LEN;
    /// Destination address.
    pub const DST: usize = core::mem::offset_of!(EthHdr, dst_addr);
    /// Source address.
    pub const SRC: usize = core::mem::offset_of!(EthHdr, src_addr);
    /// Ethertype.
    pub const TYPE: usize = core::mem::offset_of!(EthHdr, ether_type);
}

/// Fields of the IPv4 header in a frame without VLAN tags.
pub mod ip {
    use network_types::{eth::EthHdr, ip::Ipv4Hdr};

    /// Length of a header without options.
    pub const LEN: usize = Ipv4Hdr::LEN;
    /// Version, and length of the header in words.
    pub const VERSION: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, vihl);
    /// Type of service: DSCP and ECN.
    pub const TOS: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, tos);
    /// Length of the packet.
    pub const TOTAL: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, tot_len);
    /// Identification.
    pub const ID: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, id);
    /// Flags and fragment offset.
    pub const FRAGMENT: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, frags);
    /// Time to live.
    pub const TTL: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, ttl);
    /// Protocol.
    pub const PROTO: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, proto);
    /// Checksum of the header.
    pub const CHECKSUM: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, check);
    /// Source address.
    pub const SRC: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, src_addr);
    /// Destination address.
    pub const DST: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, dst_addr);
}

/// Fields of the UDP header behind an IPv4 header without options.
pub mod udp {
    use network_types::{eth::EthHdr, ip::Ipv4Hdr, udp::UdpHdr};

    const AT: usize = EthHdr::LEN + Ipv4Hdr::LEN;
    /// Length of the header.
    pub const LEN: usize = UdpHdr::LEN;
    /// Source port.
    pub const SPORT: usize = AT + core::mem::offset_of!(UdpHdr, src);
    /// Destination port.
    pub const DPORT: usize = AT + core::mem::offset_of!(UdpHdr, dst);
    /// Length of the datagram.
    pub const LENGTH: usize = AT + core::mem::offset_of!(UdpHdr, len);
    /// Checksum of the datagram.
    pub const CHECKSUM: usize = AT + core::mem::offset_of!(UdpHdr, check);
}
