//! The packets that the driver makes, and where it is in their list.

use bytemuck::{Pod, Zeroable};

use super::value::map_value;

/// Bytes at the head of the frame that every visit restores: Ethernet, IPv4, and the ports.
pub const HEAD: usize = 40;

/// What makes one packet differ from the next, as it stands in the frame.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Visit {
    /// Source address, network byte order.
    pub src: u32,
    /// Destination address, network byte order.
    pub dst: u32,
    /// Source and destination port, as the first word of a TCP or UDP header.
    pub ports: u32,
    /// Checksum of the IPv4 header that holds these addresses.
    pub ip_checksum: u16,
    /// TCP, UDP or ICMP checksum.
    pub l4_checksum: u16,
}

/// What the driver does: the one element of `DRIVER_JOB`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Job {
    /// Index into `DRIVER_VISITS` of the next packet.
    pub next: u32,
    /// Index of the first packet of the list.
    pub first: u32,
    /// One past the last: from there the walk starts over.
    pub end: u32,
    /// Where harvested visits go: this much behind those that they came of.
    pub harvest: u32,
    /// Offset of the source address in the frame. The checksum that covers it stands two bytes before.
    pub addresses_at: u32,
    /// Offset of the ports.
    pub ports_at: u32,
    /// Offset of the TCP, UDP or ICMP checksum.
    pub l4_checksum_at: u32,
    /// Always zero.
    pub spare: u32,
    /// Head of the frame as it was built.
    pub head: [u64; HEAD / 8],
}

map_value!(Visit, Job);
