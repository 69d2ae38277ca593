//! What the sender and the receiver at both ends of a gateway are told, and what the receiver counts.

use bytemuck::{Pod, Zeroable};

use super::value::map_value;

/// What the sender makes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Plan {
    /// Number of the next packet. The sender counts it up.
    pub next: u64,
    /// Packet n belongs to flow n modulo this: how many flows there are.
    pub flows: u64,
    /// Nanoseconds from one burst to the next; 0: as fast as it goes.
    pub gap_ns: u64,
    /// When the next burst is due, by `bpf_ktime_get_ns`. The sender moves it on.
    pub due_ns: u64,
    /// Packets in a burst; a power of two.
    pub burst: u32,
    /// 1: the payload tells when the packet was made.
    pub is_timed: u32,
    /// First source address, host order.
    pub src: u32,
    /// First destination address, host order.
    pub dst: u32,
    /// Number of source addresses, as a power of two.
    pub src_bits: u32,
    /// Number of destination addresses, as a power of two.
    pub dst_bits: u32,
    /// Destination port, host order.
    pub dport: u32,
    /// Ethernet addresses of the frames, destination first.
    pub macs: [u8; 12],
}

/// What the receiver looks for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Expected {
    /// UDP destination port of the sender's packets, host order.
    pub dport: u32,
    /// Source addresses are these bits ...
    pub src: u32,
    /// ... under this mask. Both host order.
    pub mask: u32,
    /// 1: everything goes on to the host, also the sender's packets.
    pub is_open: u32,
}

/// What a receiver has counted, one per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Received {
    /// The sender's packets from an expected source.
    pub good: u64,
    /// The sender's packets from any other source.
    pub bad: u64,
}

/// Source ports are 1024 and up, this many.
pub const PORTS: u64 = 64_512;

/// Length of the sender's frames, without checksum: 64 bytes on a wire.
pub const FRAME: usize = 60;

/// Buckets per doubling of a delay.
const STEPS: u32 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();

/// Number of buckets: the last begins at 2^36 ns, a minute.
pub const BUCKETS: u32 = (36 - STEP_BITS + 1) * STEPS + 1;

/// The bucket of a delay in nanoseconds.
#[inline(always)]
pub fn bucket_of(ns: u64) -> u32 {
    if ns >> 36 != 0 {
        return BUCKETS - 1;
    }
    // By halves: the target has no instruction that counts leading zeros.
    let mut rest = ns;
    let mut log = 0;
    let mut shift = 32;
    while shift != 0 {
        if rest >> shift != 0 {
            rest >>= shift;
            log += shift;
        }
        shift >>= 1;
    }
    if log < STEP_BITS {
        return ns as u32;
    }
    let octave = log - STEP_BITS;
    (octave + 1) * STEPS + ((ns >> octave) as u32 & (STEPS - 1))
}

map_value!(Plan, Expected, Received);
