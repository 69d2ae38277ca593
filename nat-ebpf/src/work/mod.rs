//! What the packet path works on: plain data, one record per CPU, that an entry point fetches once and passes on.
//!
//! The stack would do for size. But the verifier follows every value on the stack, and would walk the slow
//! path once for each way a packet can reach it; what comes out of a map is just "some number", so it walks
//! once. Programs that use it do not nest on a CPU (softirq, or test runs with bottom halves off).

pub mod packet;
pub mod port;
pub mod route;

use nat_common::{FlowEntry, Stamp};

use packet::{Arrival, OptionPosition, Packet, Quote};
use port::{Random, Search};
use route::Route;

/// The one element of `WORK`, per CPU. Which step fills what: packet, route, search, entry, in this order.
#[repr(C)]
pub struct Work {
    /// The packet at hand.
    pub packet: Packet,
    /// When it came; set on a miss.
    pub now: Stamp,
    /// Whether its tuple has an entry, of a flow that is past its deadline; set on a miss.
    pub is_known: bool,
    /// Where it goes once translated.
    pub route: Route,
    /// The search for a port that its flow leaves by.
    pub search: Search,
    /// The entry that is about to be inserted.
    pub entry: FlowEntry,
    /// Random bits for searches.
    pub random: Random,
    /// The interface that the last packet came by.
    pub arrival: Arrival,
    /// Where a walk over IPv4 options is.
    pub option: OptionPosition,
    /// What an ICMP error quotes.
    pub quote: Quote,
}
