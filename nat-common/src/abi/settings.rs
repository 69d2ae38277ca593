//! Values that may change while packets flow. (What never changes after load is in `.rodata`.)

use bytemuck::{Pod, Zeroable};

use crate::hash::Secret;
use crate::nh::HashKey;
use crate::timeouts::IdleLimits;

/// Ports tried on a host's own EIP, and then on each further EIP, before the deep walk.
pub const QUICK_PROBES: u32 = 64;

/// EIPs that one packet tries by quick probes, the host's own included.
pub const QUICK_EIPS: u32 = 8;

/// Ports that one packet tries in the deep walk at most.
pub const DEEP_PROBES: u32 = 512;

/// Default of [`Settings::probe_budget`].
///
/// A probe is one lookup: 110 ns in a small table, 280 ns in one for a million flows; so 1 to 3 % of a CPU.
pub const PROBE_BUDGET: u32 = 100_000;

/// Default of [`Settings::answers_per_second`]: what the Linux kernel allows itself (`net.ipv4.icmp_msgs_per_sec`).
pub const ANSWERS_PER_SECOND: u32 = 1000;

/// The one element of `SETTINGS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Settings {
    /// Key of the random bits that port walks start from.
    pub secret: Secret,
    /// Key of the flow table. Never changes while the table lives.
    pub hash: HashKey,
    /// Key by which a client's EIP is chosen. Not the flow table's: which client has which EIP can be seen from outside, and must
    /// tell nothing about where entries stand.
    pub choice: HashKey,
    /// Key by which a next hop's slots are chosen. Not the flow table's, for the same reason.
    pub placing: HashKey,
    /// Drawn at random: the mark of packets that the XDP programs hand to the ingress guard, by which it knows them. Where the
    /// driver has no room for it, they have the first six bytes for their sender's Ethernet address.
    pub handover_mac: [u8; 8],
    /// Homes of the flow table. Never changes while the table lives.
    pub homes: u32,
    /// Entries that the flow table takes.
    pub capacity: u32,
    /// Idle timeouts, as they are compared.
    pub timeouts: IdleLimits,
    /// Probes that failing port claims may make per CPU and second.
    pub probe_budget: u32,
    /// Events sent to userspace per CPU and second, at most.
    pub event_budget: u32,
    /// 1: the host answers pings to a shared EIP.
    pub shared_echo: u32,
    /// ICMP errors and RSTs that natgw itself sends, per CPU and second.
    pub answers_per_second: u32,
}

impl Settings {
    /// The mark in front of packets that are handed over, see [`super::handover::Handover`].
    #[inline(always)]
    pub fn handover_mark(&self) -> [u32; 2] {
        bytemuck::cast(self.handover_mac)
    }

    /// The sender's Ethernet address of packets that are handed to the kernel without a mark in front of them.
    #[inline(always)]
    pub const fn handover_sender(&self) -> [u8; 6] {
        let [head @ .., _, _] = self.handover_mac;
        head
    }
}

crate::map_value!(Settings);
