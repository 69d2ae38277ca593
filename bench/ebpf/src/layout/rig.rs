//! What the rig's generator is told, and the flow table of its lookup-only gateway.

use bytemuck::{Pod, Zeroable};
use nat_common::{Addr, Port};

use super::value::map_value;

/// A packet to send: what differs from one to the next, as it stands in the packet. An element of `RIG_VISITS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Visit {
    /// Destination address.
    pub dst: Addr,
    /// Source port and destination port.
    pub ports: [Port; 2],
    /// IPv4 identification.
    pub id: u16,
    /// Of the IPv4 header.
    pub ip_checksum: u16,
    /// Of the UDP datagram, whose payload is zeros.
    pub udp_checksum: u16,
    /// Length of the frame, host order.
    pub frame: u16,
}

/// Where the generator is in its list: the one element of `RIG_COURSE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Course {
    /// Index of the next visit.
    pub next: u32,
    /// Length of the list.
    pub visits: u32,
    /// Index in `RIG_TARGETS` of the interface to send from.
    pub target: u32,
    /// Source address of every packet.
    pub src: Addr,
    /// Packets made.
    pub made: u64,
    /// Destination and source Ethernet address of every packet, then the IPv4 ethertype and two zero bytes, in the
    /// order of the frame.
    pub ethernet: [u64; 2],
}

/// A value of `RIG_TABLE`, as large as a flow's.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Value {
    /// Element of `RIG_OUT` by which the packet leaves.
    pub egress: u32,
    /// Not read.
    pub rest: [u32; 15],
}

map_value!(Visit, Course, Value);
