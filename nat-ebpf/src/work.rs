//! Where the slow path keeps what it works on: one element per CPU.
//!
//! The stack would do for size. But the verifier follows every value on the stack, and would walk the slow
//! path once for each way a packet can reach it; what comes out of a map is just "some number", so it walks
//! once. XDP programs do not nest on a CPU (softirq, or test runs with bottom halves off).

use aya_ebpf::bindings::bpf_fib_lookup;
use nat_common::{FlowEntry, Tuple};

use crate::{
    hop::resolve::Hop, mapping::claim::Search, mapping::random::Stream, maps, pipeline::Missed,
    policy::via::Arrival, wire::answer::Quote, wire::packet::Packet,
};

/// The one element of `SCRATCH`, per CPU.
#[repr(C)]
pub struct Scratch {
    /// The packet at hand.
    pub packet: Packet,
    /// Why it is in the slow path.
    pub missed: Missed,
    /// Its claim.
    pub search: Search,
    /// Its hop.
    pub hop: Hop,
    /// What its tuple becomes, for the FIB.
    pub translated: Tuple,
    /// Question and answer of a FIB lookup.
    pub fib: bpf_fib_lookup,
    /// An entry to insert.
    pub entry: FlowEntry,
    /// Random bits for claims.
    pub stream: Stream,
    /// Where a walk over IPv4 options is.
    pub option: u32,
    /// The interface that the last packet came by.
    pub arrival: Arrival,
    /// What an ICMP error quotes.
    pub quote: Quote,
}

/// Borrows one field. Fields are borrowed apart, so that two borrows never overlap.
macro_rules! borrow {
    ($(#[$doc:meta])* $name:ident: $type:ty) => {
        $(#[$doc])*
        #[inline(always)]
        pub fn $name() -> Option<&'static mut $type> {
            // SAFETY: a per-CPU element, and programs that use it do not nest on a CPU; each field is borrowed
            // by one function at a time.
            maps::scratch().map(|s| unsafe { &mut (*s).$name })
        }
    };
}

borrow!(
    /// Random bits for claims.
    stream: Stream
);
borrow!(
    /// Where a walk over IPv4 options is.
    option: u32
);
borrow!(
    /// The interface that the last packet came by.
    arrival: Arrival
);
borrow!(
    /// What an ICMP error quotes.
    quote: Quote
);
borrow!(
    /// The packet at hand.
    packet: Packet
);
borrow!(
    /// Why it is in the slow path.
    missed: Missed
);
borrow!(
    /// Its claim.
    search: Search
);
borrow!(
    /// What its tuple becomes, for the FIB.
    translated: Tuple
);
borrow!(
    /// Its hop.
    hop: Hop
);
borrow!(
    /// Question and answer of a FIB lookup.
    fib: bpf_fib_lookup
);
borrow!(
    /// An entry to insert.
    entry: FlowEntry
);
