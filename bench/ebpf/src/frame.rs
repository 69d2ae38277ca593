//! Where header fields are in a frame, and how they are read and written.
//!
//! Lengths, offsets and numbers come from network-types. Its header types are not laid over the frame: their fields are
//! arrays of bytes, which the BPF target reads and writes byte by byte, and programs that are measured, or measure,
//! have no time for that.

use network_types::{
    eth::{EthHdr, EtherType},
    ip::{IpProto, Ipv4Hdr},
    udp::UdpHdr,
};

/// Ethernet, IPv4 without options, UDP.
pub(crate) const HEADERS: usize = EthHdr::LEN + Ipv4Hdr::LEN + UdpHdr::LEN;

/// The ethertype of IPv4, as it stands in the frame.
pub(crate) const ETHERTYPE_IPV4: u16 = EtherType::Ipv4 as u16;

/// The protocol number of UDP.
pub(crate) const UDP: u8 = IpProto::Udp as u8;

/// Version 4, and a header of five words.
pub(crate) const VERSION_AND_IHL: u8 = 0x45;

/// `More fragments` and the fragment offset, as they stand in the frame.
pub(crate) const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

/// `Don't fragment` and nothing else, as it stands in the frame.
pub(crate) const DONT_FRAGMENT: u16 = 0x4000u16.to_be();

/// A TTL of 64 hops and UDP, as they stand in the frame.
pub(crate) const TTL_AND_UDP: u16 = u16::from_be_bytes([64, UDP]).to_be();

/// Fields of the Ethernet header.
pub(crate) mod eth {
    use super::EthHdr;

    pub(crate) const LEN: usize = EthHdr::LEN;
    pub(crate) const DST: usize = core::mem::offset_of!(EthHdr, dst_addr);
    pub(crate) const SRC: usize = core::mem::offset_of!(EthHdr, src_addr);
    pub(crate) const TYPE: usize = core::mem::offset_of!(EthHdr, ether_type);
}

/// Fields of the IPv4 header in a frame without VLAN tags.
pub(crate) mod ip {
    use super::{EthHdr, Ipv4Hdr};

    pub(crate) const LEN: usize = Ipv4Hdr::LEN;
    pub(crate) const VERSION: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, vihl);
    pub(crate) const TOS: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, tos);
    pub(crate) const TOTAL: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, tot_len);
    pub(crate) const ID: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, id);
    pub(crate) const FRAGMENT: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, frags);
    pub(crate) const TTL: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, ttl);
    pub(crate) const PROTO: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, proto);
    pub(crate) const CHECKSUM: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, check);
    pub(crate) const SRC: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, src_addr);
    pub(crate) const DST: usize = EthHdr::LEN + core::mem::offset_of!(Ipv4Hdr, dst_addr);
}

/// Fields of the UDP header behind an IPv4 header without options.
pub(crate) mod udp {
    use super::{HEADERS, UdpHdr};

    const AT: usize = HEADERS - UdpHdr::LEN;
    pub(crate) const LEN: usize = UdpHdr::LEN;
    pub(crate) const SPORT: usize = AT + core::mem::offset_of!(UdpHdr, src);
    pub(crate) const DPORT: usize = AT + core::mem::offset_of!(UdpHdr, dst);
    pub(crate) const LENGTH: usize = AT + core::mem::offset_of!(UdpHdr, len);
    pub(crate) const CHECKSUM: usize = AT + core::mem::offset_of!(UdpHdr, check);
}

/// Reads a field.
///
/// # Safety
/// `frame + offset` is the start of a `T` within the frame. It need not be aligned: the verifier asks for no alignment
/// in packets on the machines that run this.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(frame: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { frame.add(offset).cast::<T>().read() }
}

/// Writes a field.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(crate) unsafe fn store<T>(frame: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { frame.add(offset).cast::<T>().write(value) }
}

/// The two 16-bit words of `word`, added up.
#[inline(always)]
pub(crate) fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The Internet checksum of words that add up to `sum` (RFC 1071: any byte order will do, as long as it is one).
#[inline(always)]
pub(crate) fn fold(sum: u32) -> u16 {
    !halves(halves(sum)) as u16
}

/// A UDP checksum as it is sent: zero would mean "none" (RFC 768).
#[inline(always)]
pub(crate) fn sent(checksum: u16) -> u16 {
    if checksum == 0 { !0 } else { checksum }
}
