//! Packets as bytes: the only pointer arithmetic on frames.
//!
//! Loads are of natural size although an IPv4 header behind an Ethernet header is only 2-aligned: the
//! verifier does not ask for alignment in packets on x86-64 and arm64, and byte-wise loads cost three times
//! the instructions.

pub mod embedded;
pub mod error;
pub mod options;
pub mod parse;
pub mod reset;
pub mod rewrite;
pub mod tags;

use nat_common::Addr;
use network_types::{eth::EtherType, ip::Ipv4Hdr, tcp::TcpHdr, udp::UdpHdr};

/// Bytes of an IPv4 header without options.
pub const IPV4_MIN: usize = Ipv4Hdr::LEN;
/// Bytes of an IPv4 header with the most options.
pub const IPV4_MAX: usize = 60;
/// Bytes of a UDP header, of an ICMP header, and of what a quoted packet has of its transport header at least (RFC 792).
pub const TRANSPORT_MIN: usize = UdpHdr::LEN;
/// Bytes of a TCP header without options.
pub const TCP_MIN: usize = TcpHdr::LEN;

/// Ethertype of IPv4, network byte order.
pub const ETHERTYPE_IPV4: u16 = EtherType::Ipv4 as u16;
/// The flag of an IPv4 packet that may not be fragmented, network byte order.
pub const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
/// The offset of a fragment, network byte order.
pub const OFFSET_BITS: u16 = 0x1fffu16.to_be();
/// The flag "more fragments" and the offset, network byte order: either is set in every fragment, neither in a whole datagram.
pub const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

/// Reads a field.
///
/// # Safety
/// `base + offset` is the start of a `T` within the frame.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise; alignment as the module says.
    unsafe { base.add(offset).cast::<T>().read() }
}

/// Writes a field.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub unsafe fn store<T: Copy>(base: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().write(value) }
}

/// The fields of an IPv4 header that natgw looks at.
#[derive(Clone, Copy)]
pub struct Ipv4 {
    /// Version, and header length in words.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Total length in bytes.
    pub total: u32,
    /// Flags and fragment offset, network byte order.
    pub fragment: u16,
    /// Time to live.
    pub ttl: u8,
    /// Protocol number.
    pub proto: u8,
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
}

impl Ipv4 {
    /// Reads a header.
    ///
    /// # Safety
    /// [`IPV4_MIN`] bytes from `ip` are within the frame.
    #[inline(always)]
    pub unsafe fn load(ip: *const u8) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                version_ihl: load(ip, 0),
                tos: load(ip, 1),
                total: u32::from(u16::from_be(load(ip, 2))),
                fragment: load(ip, 6),
                ttl: load(ip, 8),
                proto: load(ip, 9),
                src: load(ip, 12),
                dst: load(ip, 16),
            }
        }
    }

    /// Bytes of the header, as it says itself.
    #[inline(always)]
    pub fn header(&self) -> usize {
        usize::from(self.version_ihl & 0xf) * 4
    }

    /// Whether version and lengths can be true (RFC 1122 section 3.2.1).
    #[inline(always)]
    pub fn is_sane(&self) -> bool {
        self.version_ihl >> 4 == 4 && self.header() >= IPV4_MIN && self.total as usize >= self.header()
    }
}
