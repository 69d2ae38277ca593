//! The search for a port, as the packet path knows it.

use nat_common::{
    Eip, PoolRef, Tuple,
    ports::{PortSet, Walk},
};

/// How a search for a port ended.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// No port, or not yet.
    Exhausted,
    /// The reverse entry is in the table.
    Claimed,
    /// No room for another entry.
    TableFull,
}

/// A search for an EIP and a port that a new flow leaves by.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Search {
    /// Key of the reverse entry; its destination, an EIP and a port, is what is being searched.
    pub reverse: Tuple,
    /// The client's pool.
    pub pool: PoolRef,
    /// The first in `MEMBERS` of those EIPs of the pool that belong to the same link as the client's own: no other is searched.
    pub first: u32,
    /// How many there are; never 0.
    pub count: u32,
    /// Which of these is the client's own EIP.
    pub own: u32,
    /// The link that they belong to; 0 for any.
    pub outside: u32,
    /// Ports of the EIP that is being searched.
    pub ports: PortSet,
    /// The walk over them.
    pub walk: Walk,
    /// Ports tried so far.
    pub probed: u32,
    /// Index into the counters of the EIP.
    pub slot: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the EIP is the host's own address too.
    pub shared: bool,
    /// Whether some of the EIP's ports are never claimed.
    pub reserves: bool,
    /// Whether the EIP takes new flows.
    pub is_open: bool,
    /// Whether the configuration names the link.
    pub is_bound: bool,
}

impl Search {
    /// Turns to the client's own EIP, the `member`-th of the pool.
    #[inline(always)]
    pub fn begin_with(&mut self, member: u32, eip: &Eip) {
        let first = u32::from(eip.group_first);
        self.first = self.pool.first + first;
        self.count = u32::from(eip.group_count);
        self.own = member - first;
        self.outside = eip.outside;
        self.is_bound = eip.bound != 0;
        self.turn_to(eip);
    }

    /// Turns to another EIP.
    #[inline(always)]
    pub fn turn_to(&mut self, eip: &Eip) {
        self.reverse.dst = eip.addr;
        self.ports = eip.ports;
        self.slot = eip.slot;
        self.shared = eip.shared != 0;
        self.reserves = eip.reserves != 0;
        self.is_open = eip.is_active() && eip.ports.count > 0;
    }
}

/// Random bits of one CPU, one draw ahead of who needs them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Random {
    /// Draws so far, counted from the time of the first.
    pub count: u64,
    /// The next bits, 32 at a time; 0 when they are not drawn yet.
    pub ahead: u64,
}
