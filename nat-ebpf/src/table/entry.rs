//! One slot of the flow table and the entry in it, as one CPU among several may touch it.

use nat_common::{
    Addr, FlowEntry, HopStamp, Stamp, Tuple,
    table::{
        ProbeBound, SlotState, find,
        life::store_hop,
        memory::{Key, Slot},
    },
};

use crate::kernel::memory::{Shared, barrier, part};

/// An entry, or the slot for one. Fields are read when asked for, never cached: other CPUs write some of them.
///
/// The memory stays mapped for the run of the program, even when the slot is freed and taken again meanwhile;
/// [`EntryRef::is_still`] tells after the fact.
#[derive(Clone, Copy)]
pub struct EntryRef(Shared<FlowEntry>);

impl EntryRef {
    /// From a lookup.
    #[inline(always)]
    pub fn new(entry: Shared<FlowEntry>) -> Self {
        Self(entry)
    }

    /// The whole entry, copied field by field: other CPUs may write in between.
    #[inline(always)]
    pub fn entry(self) -> FlowEntry {
        self.0.get()
    }

    /// Source address of the packet after translation.
    #[inline(always)]
    pub fn new_src(self) -> Addr {
        part!(self.0, new_src).get()
    }

    /// Destination address of the packet after translation.
    #[inline(always)]
    pub fn new_dst(self) -> Addr {
        part!(self.0, new_dst).get()
    }

    /// Both new ports as the first word of a TCP or UDP header.
    #[inline(always)]
    pub fn new_ports(self) -> u32 {
        const { assert!(core::mem::offset_of!(FlowEntry, new_sport).is_multiple_of(4)) };
        let first = part!(self.0, new_sport).as_ptr();
        // SAFETY: the first of two fields of two bytes each, together an aligned word.
        unsafe { Shared::<u32>::field(first.cast()) }.get()
    }

    /// New identifier of an ICMP query.
    #[inline(always)]
    pub fn new_sport(self) -> u16 {
        part!(self.0, new_sport.be).get()
    }

    /// New identifier of an ICMP answer.
    #[inline(always)]
    pub fn new_dport(self) -> u16 {
        part!(self.0, new_dport.be).get()
    }

    /// Change of the IPv4 header checksum, the TTL's decrement included.
    #[inline(always)]
    pub fn ip_delta(self) -> u16 {
        part!(self.0, ip_delta).get()
    }

    /// Change of the transport checksum.
    #[inline(always)]
    pub fn l4_delta(self) -> u16 {
        part!(self.0, l4_delta).get()
    }

    /// When and where the hop was resolved.
    #[inline(always)]
    pub fn hop(self) -> HopStamp {
        part!(self.0, hop).get()
    }

    /// Flags, and the slot's probe bound above them.
    #[inline(always)]
    pub fn seen(self) -> u32 {
        part!(self.0, seen).get()
    }

    /// Last packet, or death.
    #[inline(always)]
    pub fn last(self) -> Stamp {
        part!(self.0, last).get()
    }

    /// Whether packets of this entry come from inside.
    #[inline(always)]
    pub fn is_outbound(self) -> bool {
        self.seen() & FlowEntry::OUTBOUND != 0
    }

    /// Whether packets of this entry are the initiator's.
    #[inline(always)]
    pub fn is_initiators(self) -> bool {
        self.seen() & FlowEntry::INITIATOR != 0
    }

    /// Key of the other half.
    #[inline(always)]
    pub fn pair_key(self, key: &Tuple) -> Tuple {
        // Of fields as they are read: a copy of the entry would take its size of the stack.
        Tuple {
            src: self.new_dst(),
            dst: self.new_src(),
            sport: part!(self.0, new_dport).get(),
            dport: part!(self.0, new_sport).get(),
            proto: key.proto,
            side: FlowEntry::pair_side_of(self.seen(), key.side),
            state: SlotState::FREE,
        }
    }

    /// Whether this is still the entry that was found under `key`.
    ///
    /// Ask after the last use of any field: what was read before was then read from this flow's entry.
    #[inline(always)]
    pub fn is_still(self, key: &Tuple) -> bool {
        find::is_still(self, Key::of(key))
    }

    /// Counts packets, of so many bytes together. Not atomic: exact while the direction stays on one queue.
    #[inline(always)]
    pub fn count(self, more: u64, bytes: u64) {
        let (packets, total) = (part!(self.0, packets), part!(self.0, bytes));
        packets.set(packets.get() + more);
        total.set(total.get() + bytes);
    }

    /// Moves the stamp from `old` to `new`, unless somebody else did first.
    #[inline(always)]
    pub fn restamp(self, old: Stamp, new: Stamp) -> bool {
        part!(self.0, last).word().replace(old.word, new.word)
    }

    /// Sets flags; returns what was seen before.
    #[inline(always)]
    pub fn set_seen(self, flags: u32) -> u32 {
        part!(self.0, seen).fetch_or(flags)
    }

    /// Clears flags; returns what was seen before.
    #[inline(always)]
    pub fn clear_seen(self, flags: u32) -> u32 {
        part!(self.0, seen).fetch_and(!flags)
    }

    /// Starts the flow's life over: age and counters.
    #[inline(always)]
    pub fn restart(self, now: Stamp) {
        part!(self.0, created).set(now);
        part!(self.0, packets).set(0);
        part!(self.0, bytes).set(0);
    }

    /// Forgets the hop, unless another CPU resolved it anew.
    #[inline(always)]
    pub fn forget_hop(self) {
        self.replace_hop(self.hop(), HopStamp::UNRESOLVED);
    }

    /// Stores a hop that was resolved for `key` where `old` was before; `false` when this is no longer the entry of `key`.
    #[inline(always)]
    pub fn store_hop(self, key: &Tuple, old: HopStamp, new: HopStamp) -> bool {
        store_hop(self, Key::of(key), old, new)
    }

    /// Both words of the key. Its field is the first of the entry, 8-aligned.
    #[inline(always)]
    fn words(self) -> [Shared<u64>; 2] {
        let first = part!(self.0, key).as_ptr().cast::<u64>();
        // SAFETY: a key is two aligned words.
        unsafe { [Shared::field(first), Shared::field(first.add(1))] }
    }

    /// The entry's half of `seen`.
    #[inline(always)]
    fn flags(self) -> Shared<u16> {
        let half = usize::from(cfg!(target_endian = "big"));
        let word = part!(self.0, seen).as_ptr();
        // SAFETY: one half of an aligned word.
        unsafe { Shared::field(word.cast::<u16>().add(half)) }
    }
}

/// Memory ordering: volatile accesses stay in order, so on x86-64 each load is an acquire and each store a release
/// (`kernel::memory`).
impl Slot for EntryRef {
    type Value = FlowEntry;

    #[inline(always)]
    fn addresses(self) -> u64 {
        self.words()[0].get()
    }

    #[inline(always)]
    fn rest(self) -> u64 {
        self.words()[1].get()
    }

    #[inline(always)]
    fn bound(self) -> ProbeBound {
        ProbeBound { word: self.seen() }
    }

    #[inline(always)]
    fn replace_bound(self, old: ProbeBound, new: ProbeBound) -> bool {
        part!(self.0, seen).replace(old.word, new.word)
    }

    #[inline(always)]
    fn reserve(self, pending: u64) -> bool {
        // A full barrier, and with it the release fence that follows a reservation.
        self.words()[1].replace(Tuple::default().rest_at(SlotState::FREE), pending)
    }

    #[inline(always)]
    fn write(self, addresses: u64, value: &FlowEntry) {
        self.words()[0].set(addresses);
        part!(self.0, new_src).set(value.new_src);
        part!(self.0, new_dst).set(value.new_dst);
        part!(self.0, new_sport).set(value.new_sport);
        part!(self.0, new_dport).set(value.new_dport);
        part!(self.0, ip_delta).set(value.ip_delta);
        part!(self.0, l4_delta).set(value.l4_delta);
        part!(self.0, hop).set(value.hop);
        self.restart(value.created);
        part!(self.0, last).set(value.last);
    }

    #[inline(always)]
    fn write_flags(self, value: &FlowEntry) {
        self.flags().set(value.seen as u16);
    }

    #[inline(always)]
    fn publish(self, live: u64) {
        self.words()[1].set(live);
    }

    #[inline(always)]
    fn unreserve(self) {
        self.words()[1].set(Tuple::default().rest_at(SlotState::FREE));
    }

    #[inline(always)]
    fn vacate(self, live: u64) -> bool {
        self.words()[1].replace(live, Tuple::default().rest_at(SlotState::FREE))
    }

    #[inline(always)]
    fn acquire(self) {
        barrier();
    }

    #[inline(always)]
    fn last(self) -> Stamp {
        Self::last(self)
    }

    #[inline(always)]
    fn replace_last(self, old: Stamp, new: Stamp) -> bool {
        self.restamp(old, new)
    }

    #[inline(always)]
    fn hop(self) -> HopStamp {
        Self::hop(self)
    }

    #[inline(always)]
    fn replace_hop(self, old: HopStamp, new: HopStamp) -> bool {
        part!(self.0, hop).word().replace(old.word, new.word)
    }

    #[inline(always)]
    fn pair_key(self, key: Key) -> Key {
        Key::of(&Self::pair_key(self, &bytemuck::cast([key.addresses, key.rest])))
    }
}
