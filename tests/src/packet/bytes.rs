//! Lengths of headers, and the Internet checksum.

use std::net::Ipv4Addr;

use etherparse::checksum::Sum16BitWords;
use etherparse::{Ethernet2Header, Ipv4Header, SingleVlanHeader};

/// Ethernet header length.
pub const ETH: usize = Ethernet2Header::LEN;

/// Length of a VLAN tag.
pub const TAG: usize = SingleVlanHeader::LEN;

/// Length of an IPv4 header without options.
pub const IPV4: usize = Ipv4Header::MIN_LEN;

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
