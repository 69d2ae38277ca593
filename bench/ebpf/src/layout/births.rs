//! What `bench_births` is told.

use bytemuck::{Pod, Zeroable};

use super::value::map_value;

/// Which flows a CPU is to send frames of: the element of `BIRTHS` that has its number.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Plan {
    /// Number of the next frame. Frame `n` belongs to flow `n * stride % flows`.
    pub next: u32,
    /// Flows that there are numbers for.
    pub flows: u32,
    /// 1: one flow after the other. Coprime to `flows` and large: as good as at random, each once before any twice.
    pub stride: u32,
    /// First source address, host order.
    pub source: u32,
    /// Source addresses.
    pub sources: u32,
    /// First destination address, host order.
    pub destination: u32,
    /// Destination addresses.
    pub destinations: u32,
    /// First source port in the low half, destination port in the high half, host order.
    pub ports: u32,
    /// Ethernet addresses, as on the wire: where to, and where from.
    pub macs: [u32; 3],
    /// Always zero. Fills a cache line: each CPU writes its own.
    pub spare: [u32; 5],
}

map_value!(Plan);
