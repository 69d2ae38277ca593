//! A packet as the packet path knows it.

use nat_common::{Tuple, answer::QUOTE};

/// What a packet carries, as far as translation is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Content {
    /// What a flow consists of: TCP, UDP, or an ICMP echo. The tuple has its ports or identifier, unless the packet is a
    /// later fragment.
    Flow,
    /// ICMP error; the tuple holds outer addresses only.
    IcmpError,
    /// Another ICMP message.
    IcmpOther,
    /// A protocol without ports, or with ports that natgw does not know.
    Other,
}

/// Where in its datagram a packet stands.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Fragment {
    /// It is the whole datagram.
    Whole,
    /// It is the first fragment: has the transport header.
    First,
    /// It is a later fragment: has no transport header, hence no ports.
    Later,
}

/// What is known of a packet once its headers are read.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    /// The key. Ports are zero unless the content has them.
    pub tuple: Tuple,
    /// TCP flags that natgw tracks, or [`nat_common::tcp::ANY`].
    pub flags: u32,
    /// IPv4 total length in bytes; of what the kernel put together of several packets (GSO), that of the largest of them. 0: the headers could not be read, and nothing else here is this packet's.
    pub len: u32,
    /// Offset of the network header from the start of the frame.
    pub l3: u16,
    /// Offset of the transport header from the start of the frame.
    pub l4: u16,
    /// What it carries.
    pub content: Content,
    /// Where in its datagram it stands.
    pub fragment: Fragment,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// ICMP type, when the protocol is ICMP.
    pub icmp_type: u8,
    /// Whether it may not be fragmented.
    pub dont_fragment: bool,
}

impl Packet {
    /// Whether its tuple may be in the flow table.
    #[inline(always)]
    pub fn has_flow(&self) -> bool {
        matches!(self.content, Content::Flow) && matches!(self.fragment, Fragment::Whole)
    }
}

/// The inside interface that the last packet on this CPU came by.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrival {
    /// Its index.
    pub ifindex: u32,
    /// Its number as in an entry's `seen`.
    pub via: u32,
}

/// Offset from the start of the frame of the IPv4 option that is looked at.
///
/// It is here and not on the stack, where every length that an option may have would be another state to the verifier, in
/// every turn of the walk.
#[repr(C)]
pub struct OptionPosition(u32);

impl OptionPosition {
    /// The offset. Volatile, so that it is read anew in every turn.
    #[inline(always)]
    pub fn get(&self) -> u32 {
        // SAFETY: a reference.
        unsafe { (&raw const self.0).read_volatile() }
    }

    /// Moves on.
    #[inline(always)]
    pub fn set(&mut self, offset: u32) {
        // SAFETY: a reference.
        unsafe { (&raw mut self.0).write_volatile(offset) }
    }
}

/// Bytes of [`Quote`].
pub const QUOTE_ROOM: u64 = 1024;
const _: () = assert!(QUOTE_ROOM.is_power_of_two() && QUOTE as u64 <= QUOTE_ROOM);

/// The packet that an ICMP error quotes, padded with zeros, for its checksum. Room for a power of two, which a mask can bound.
pub type Quote = [u32; QUOTE_ROOM as usize / 4];
