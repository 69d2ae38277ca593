//! A flow entry in the table, as one CPU among several may touch it.

use core::mem::offset_of;

use nat_common::{Addr, FlowEntry, HopStamp, Stamp, Tuple, hop::Iface};

use crate::atomics;

/// A pointer to an entry. Fields are read when asked for, never cached: other CPUs write some of them.
#[derive(Clone, Copy)]
pub struct Flow(*mut FlowEntry);

/// Reads or writes one field of the entry, or takes its address as a word for `atomics`.
///
/// Every pointer came from a lookup and was checked for null. Map memory stays mapped for the run of the
/// program even when the element is freed and reused meanwhile; [`Flow::is_still`] tells after the fact.
macro_rules! field {
    ($flow:expr, $name:ident) => {{
        // SAFETY: see the macro.
        unsafe { (*$flow.0).$name }
    }};
    ($flow:expr, $name:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: see the macro.
        unsafe { (*$flow.0).$name = value }
    }};
    (&raw $flow:expr, $name:ident) => {{
        // SAFETY: see the macro.
        unsafe { (&raw mut (*$flow.0).$name).cast::<u32>() }
    }};
}

impl Flow {
    /// From a successful lookup.
    #[inline(always)]
    pub fn new(entry: *mut FlowEntry) -> Self {
        Self(entry)
    }

    /// The whole entry, copied.
    #[inline(always)]
    pub fn entry(self) -> FlowEntry {
        // SAFETY: see `field!`.
        unsafe { *self.0 }
    }

    /// What the packet becomes.
    #[inline(always)]
    pub fn new_src(self) -> Addr {
        field!(self, new_src)
    }

    /// What the packet becomes.
    #[inline(always)]
    pub fn new_dst(self) -> Addr {
        field!(self, new_dst)
    }

    /// Both new ports as the first word of a TCP or UDP header.
    #[inline(always)]
    pub fn new_ports(self) -> u32 {
        // SAFETY: see `field!`.
        unsafe { load(self.0.cast(), offset_of!(FlowEntry, new_sport)) }
    }

    /// New identifier of an ICMP query.
    #[inline(always)]
    pub fn new_sport(self) -> u16 {
        field!(self, new_sport).be
    }

    /// New identifier of an ICMP answer.
    #[inline(always)]
    pub fn new_dport(self) -> u16 {
        field!(self, new_dport).be
    }

    /// Change of the IPv4 header checksum.
    #[inline(always)]
    pub fn ip_delta(self) -> u16 {
        field!(self, ip_delta)
    }

    /// Change of the transport checksum.
    #[inline(always)]
    pub fn l4_delta(self) -> u16 {
        field!(self, l4_delta)
    }

    /// Both MAC addresses, as the first three words of the Ethernet header.
    #[inline(always)]
    pub fn macs(self) -> [u32; 3] {
        // SAFETY: see `field!`.
        unsafe { load(self.0.cast(), offset_of!(FlowEntry, dmac)) }
    }

    /// Devmap index, or `EGRESS_KERNEL`.
    #[inline(always)]
    pub fn egress(self) -> u16 {
        field!(self, egress)
    }

    /// Largest packet for the hop.
    #[inline(always)]
    pub fn mtu(self) -> u16 {
        field!(self, mtu)
    }

    /// When and where the hop was resolved.
    #[inline(always)]
    pub fn hop(self) -> HopStamp {
        field!(self, hop)
    }

    /// Flags and tag.
    #[inline(always)]
    pub fn seen(self) -> u32 {
        field!(self, seen)
    }

    /// Last packet, or death.
    #[inline(always)]
    pub fn last(self) -> Stamp {
        field!(self, last)
    }

    /// Whether packets of this entry come from inside.
    #[inline(always)]
    pub fn is_outbound(self) -> bool {
        self.seen() & FlowEntry::OUTBOUND != 0
    }

    /// Key of the other half.
    #[inline(always)]
    pub fn pair_key(self, key: &Tuple) -> Tuple {
        self.entry().pair_key(key)
    }

    /// Whether the element is still the one that was looked up under `key`.
    ///
    /// Ask after the last use of any field: what was read before was then read from this flow's entry.
    #[inline(always)]
    pub fn is_still(self, key: &Tuple) -> bool {
        atomics::barrier();
        // SAFETY: see `field!`. Volatile, so that an earlier read of the same word is not reused.
        let seen = unsafe { core::ptr::read_volatile(&raw const (*self.0).seen) };
        FlowEntry::is_tagged(seen, key)
    }

    /// Counts one packet of `bytes`. Plain: exact while the direction stays on one queue.
    #[inline(always)]
    pub fn count(self, bytes: u64) {
        field!(self, packets = field!(self, packets) + 1);
        field!(self, bytes = field!(self, bytes) + bytes);
    }

    /// Moves the stamp from `old` to `new`, unless somebody else did first.
    #[inline(always)]
    pub fn restamp(self, old: Stamp, new: Stamp) -> bool {
        let word = field!(&raw self, last);
        // SAFETY: a valid, 4-aligned field.
        unsafe { atomics::compare_exchange(word, old.ms, new.ms) }
    }

    /// Sets flags; returns what was seen before.
    #[inline(always)]
    pub fn set_seen(self, flags: u32) -> u32 {
        let word = field!(&raw self, seen);
        // SAFETY: a valid, 4-aligned field.
        unsafe { atomics::fetch_or(word, flags) }
    }

    /// Clears flags; returns what was seen before.
    #[inline(always)]
    pub fn clear_seen(self, flags: u32) -> u32 {
        let word = field!(&raw self, seen);
        // SAFETY: a valid, 4-aligned field.
        unsafe { atomics::fetch_and(word, !flags) }
    }

    /// Starts the flow's life over: age and counters.
    #[inline(always)]
    pub fn restart(self, now: Stamp) {
        field!(self, created = now);
        field!(self, packets = 0);
        field!(self, bytes = 0);
    }

    /// Replaces the hop. The stamp goes first to "unresolved" and last to its value: a CPU that reads in
    /// between resolves for itself.
    #[inline(always)]
    pub fn set_hop(self, hop: &crate::hop::Hop) {
        // SAFETY: see `field!`; volatile keeps the order.
        unsafe { core::ptr::write_volatile(&raw mut (*self.0).hop, HopStamp::UNRESOLVED) };
        field!(self, dmac = hop.dmac);
        field!(self, smac = hop.smac);
        field!(self, egress = hop.egress);
        field!(self, mtu = hop.mtu);
        atomics::barrier();
        // SAFETY: as above.
        unsafe { core::ptr::write_volatile(&raw mut (*self.0).hop, hop.stamp) };
    }
}

// Read as words, together with the field that follows.
const _: () = assert!(offset_of!(FlowEntry, new_sport) % 4 == 0 && offset_of!(FlowEntry, dmac) % 4 == 0);

/// # Safety
/// `base + offset` is a `T`'s place in an entry.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().read() }
}

/// Whether a frame was sent to this interface's own station address.
#[inline(always)]
pub fn is_for_station(iface: &Iface, dmac: [u8; 6]) -> bool {
    let mut difference = 0;
    for (own, sent) in iface.mac.iter().zip(dmac) {
        difference |= own ^ sent;
    }
    difference == 0
}
