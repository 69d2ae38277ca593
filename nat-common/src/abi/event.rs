//! What the packet path tells userspace through the `EVENTS` ring buffer, rate-limited.

use bytemuck::{Pod, Zeroable};

use crate::tuple::Tuple;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// No port for the flow that `tuple` (as received) asked for.
    PortExhausted = 1,
    /// No room in the flow table for it.
    TableFull = 2,
}

impl EventKind {
    /// From [`Event::kind`].
    pub const fn from_number(n: u32) -> Option<Self> {
        match n {
            1 => Some(Self::PortExhausted),
            2 => Some(Self::TableFull),
            _ => None,
        }
    }
}

/// One record of the ring buffer.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Event {
    /// [`EventKind`] as a number.
    pub kind: u32,
    /// Events of this kind that the limit held back on this CPU since the last one.
    pub suppressed: u32,
    /// The packet, as received.
    pub tuple: Tuple,
}

crate::map_value!(Event);
