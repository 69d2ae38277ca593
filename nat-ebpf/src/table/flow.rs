//! A flow entry in the table, as one CPU among several may touch it.

use core::{mem::offset_of, ptr::NonNull};

use nat_common::{
    Addr, FlowEntry, HopStamp, Stamp, Tuple,
    table::{Crowd, place},
};

use crate::kernel::atomics;

/// A pointer to an entry. Fields are read when asked for, never cached: other CPUs write some of them.
///
/// Never null, so that an `Option` is one register: of two, LLVM leaves one undefined, and the verifier minds.
#[derive(Clone, Copy)]
pub struct Flow(NonNull<FlowEntry>);

/// Reads or writes one field of the entry, or takes its address as a word for `atomics`.
///
/// Every pointer came from a lookup and was checked for null. Map memory stays mapped for the run of the
/// program even when the place is freed and taken again meanwhile; [`Flow::is_still`] tells after the fact.
macro_rules! field {
    ($flow:expr, $name:ident) => {{
        // SAFETY: see the macro.
        unsafe { (*$flow.0.as_ptr()).$name }
    }};
    ($flow:expr, $name:ident = $value:expr) => {{
        let value = $value;
        // SAFETY: see the macro.
        unsafe { (*$flow.0.as_ptr()).$name = value }
    }};
    (&raw $flow:expr, $name:ident) => {{
        // SAFETY: see the macro.
        unsafe { (&raw mut (*$flow.0.as_ptr()).$name).cast::<u32>() }
    }};
}

impl Flow {
    /// From a lookup.
    #[inline(always)]
    pub fn new(entry: NonNull<FlowEntry>) -> Self {
        Self(entry)
    }

    /// The whole entry, copied.
    #[inline(always)]
    pub fn entry(self) -> FlowEntry {
        // SAFETY: see `field!`.
        unsafe { *self.0.as_ptr() }
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
        unsafe { load(self.0.as_ptr().cast(), offset_of!(FlowEntry, new_sport)) }
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

    /// Change of the IPv4 header checksum, the TTL's decrement included.
    #[inline(always)]
    pub fn ip_delta(self) -> u16 {
        field!(self, ip_delta)
    }

    /// Change of the transport checksum.
    #[inline(always)]
    pub fn l4_delta(self) -> u16 {
        field!(self, l4_delta)
    }

    /// When and where the hop was resolved.
    #[inline(always)]
    pub fn hop(self) -> HopStamp {
        field!(self, hop)
    }

    /// Flags, and the place's crowd above them.
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

    /// Whether this is the entry of `key`.
    #[inline(always)]
    pub fn is_live(self, key: &Tuple) -> bool {
        self.is(key.addresses(), key.rest_at(place::LIVE))
    }

    /// Whether the key, and what stands here, are these two words.
    #[inline(always)]
    pub fn is(self, addresses: u64, rest: u64) -> bool {
        // One branch for both: two would double what the verifier walks from here on.
        (self.rest() ^ rest) | (self.addresses() ^ addresses) == 0
    }

    /// Whether this is still the entry that was found under `key`.
    ///
    /// Ask after the last use of any field: what was read before was then read from this flow's entry.
    #[inline(always)]
    pub fn is_still(self, key: &Tuple) -> bool {
        atomics::barrier();
        self.is_live(key)
    }

    /// First word of the key. Volatile, like [`Self::rest`]: an earlier read of the same word must not be reused.
    #[inline(always)]
    pub fn addresses(self) -> u64 {
        // SAFETY: see `field!`.
        unsafe { core::ptr::read_volatile(self.words()) }
    }

    /// Second word of the key, with what stands at the place.
    #[inline(always)]
    pub fn rest(self) -> u64 {
        // SAFETY: see `field!`.
        unsafe { core::ptr::read_volatile(self.words().add(1)) }
    }

    #[inline(always)]
    fn words(self) -> *mut u64 {
        // SAFETY: the key is the first field, 8-aligned.
        unsafe { (&raw mut (*self.0.as_ptr()).key).cast() }
    }

    /// How far from this home its entries stand.
    #[inline(always)]
    pub fn crowd(self) -> Crowd {
        // SAFETY: see `field!`. Volatile: read before what it covers.
        Crowd { seen: unsafe { core::ptr::read_volatile(&raw const (*self.0.as_ptr()).seen) } }
    }

    /// Replaces the crowd, unless somebody changed the word meanwhile.
    #[inline(always)]
    pub fn set_crowd(self, old: Crowd, new: Crowd) -> bool {
        let word = field!(&raw self, seen);
        // SAFETY: a valid, 4-aligned field.
        unsafe { atomics::compare_exchange(word, old.seen, new.seen) }
    }

    /// Takes a free place.
    #[inline(always)]
    pub fn take(self) -> bool {
        let nobody = Tuple::default();
        // SAFETY: a valid, 8-aligned field.
        unsafe {
            atomics::compare_exchange_wide(self.words().add(1), nobody.rest(), nobody.rest_at(place::PENDING))
        }
    }

    /// Gives the place back.
    #[inline(always)]
    pub fn free(self) {
        atomics::barrier();
        // SAFETY: see `field!`.
        unsafe { core::ptr::write_volatile(self.words().add(1), 0) };
    }

    /// Gives a live entry's place back; whether it still was that entry's.
    #[inline(always)]
    pub fn vacate(self, live: u64) -> bool {
        // SAFETY: a valid, 8-aligned field.
        unsafe { atomics::compare_exchange_wide(self.words().add(1), live, 0) }
    }

    /// Writes an entry to a place that was just taken: the key first, so that whoever still reads the last flow's
    /// entry here notices ([`Self::is_still`]).
    #[inline(always)]
    pub fn fill(self, addresses: u64, pending: u64, entry: &FlowEntry) {
        // SAFETY: see `field!`; volatile keeps the order.
        unsafe {
            core::ptr::write_volatile(self.words(), addresses);
            core::ptr::write_volatile(self.words().add(1), pending);
        }
        atomics::barrier();
        field!(self, new_src = entry.new_src);
        field!(self, new_dst = entry.new_dst);
        field!(self, new_sport = entry.new_sport);
        field!(self, new_dport = entry.new_dport);
        field!(self, ip_delta = entry.ip_delta);
        field!(self, l4_delta = entry.l4_delta);
        field!(self, hop = entry.hop);
        field!(self, last = entry.last);
        field!(self, created = entry.created);
        field!(self, packets = 0);
        field!(self, bytes = 0);
        atomics::barrier();
    }

    /// Makes a filled entry the flow's. Of `seen` the lower half is stored, and only it: the upper one is the place's, and
    /// others may be swapping it.
    #[inline(always)]
    pub fn enliven(self, live: u64, seen: u32) {
        let half = usize::from(cfg!(target_endian = "big"));
        // SAFETY: the lower half of a valid, 4-aligned field.
        let flags = unsafe { (&raw mut (*self.0.as_ptr()).seen).cast::<u16>().add(half) };
        // SAFETY: see `field!`.
        unsafe { core::ptr::write_volatile(flags, seen as u16) };
        atomics::barrier();
        // SAFETY: see `field!`.
        unsafe { core::ptr::write_volatile(self.words().add(1), live) };
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
        unsafe { atomics::compare_exchange(word, old.word, new.word) }
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

    /// Replaces the hop, unless somebody else did first. A full barrier: what is read after it is younger.
    #[inline(always)]
    pub fn set_hop(self, old: HopStamp, new: HopStamp) -> bool {
        let word = field!(&raw self, hop);
        // SAFETY: a valid, 4-aligned field.
        unsafe { atomics::compare_exchange(word, old.word, new.word) }
    }
}

// Read as words, together with the field that follows.
const _: () = assert!(offset_of!(FlowEntry, new_sport) % 4 == 0);

/// # Safety
/// `base + offset` is a `T`'s place in an entry.
#[inline(always)]
unsafe fn load<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().read() }
}
