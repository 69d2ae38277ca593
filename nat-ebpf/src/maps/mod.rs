//! The only maps, and what other modules may ask of them.

use aya_ebpf::{
    Global,
    btf_maps::{Array, DevMap, HashMap, LpmTrie, LruHashMap, PerCpuArray, RingBuf, lpm_trie::Key},
    macros::btf_map,
};
use nat_common::{
    Addr, Eip, FlowEntry, PoolRef, Stamp, Tuple,
    budget::Budget,
    conntrack::Conntrack,
    eip::{CHOICES_PER_WORD, ReservedPort},
    event::Event,
    hop::{HopSlot, Iface, NextHop},
    lost::Lost,
    maps::access,
    scarce::{Destination, Scarcity},
    settings::Settings,
    stats::{EipStats, Stats},
    table::Occupancy,
};

use crate::{
    kernel::{memory::Shared, register},
    work::Work,
};

/// Makes a map of each line of the list in nat-common.
macro_rules! maps {
    ($(
        $(#[$about:meta])*
        $access:ident $kind:ident $name:ident $handle:ident ($($type:ty),*) [$elements:expr];
    )+) => {
        $(
            $(#[$about])*
            #[btf_map]
            static $name: $kind<$($type,)* { $elements as usize }, { access::$access as usize }> = $kind::new();
        )+
    };
}
nat_common::for_each_map!(maps);

#[btf_map]
static WORK: PerCpuArray<Work, 1> = PerCpuArray::new();

/// Set at load time; the verifier then prunes whichever branch cannot be taken.
#[unsafe(no_mangle)]
static ONE_ARMED: Global<u8> = Global::new(0);

/// Whether one interface is inside and outside at once.
#[inline(always)]
pub fn is_one_armed() -> bool {
    ONE_ARMED.load() != 0
}

#[unsafe(no_mangle)]
static SEVERAL_INSIDE: Global<u8> = Global::new(0);

/// Whether there are several inside interfaces, so that a packet may come by another one than its flow's packets do.
#[inline(always)]
pub fn has_several_inside() -> bool {
    SEVERAL_INSIDE.load() != 0
}

#[unsafe(no_mangle)]
static REDIRECT_FRAGS: Global<u8> = Global::new(1);

/// Whether `bpf_redirect_map` takes frames that span several buffers. Linux before 6.3 answers `XDP_REDIRECT` all the
/// same and drops them afterwards, where no counter of ours sees it.
#[inline(always)]
pub fn redirects_frags() -> bool {
    REDIRECT_FRAGS.load() != 0
}

#[unsafe(no_mangle)]
static TRANSMITS: Global<u8> = Global::new(1);

/// Whether the one interface of a one-armed gateway can send a frame back that came by it (`XDP_TX`). A veth whose peer runs no XDP
/// program counts the frame as sent and loses it (drivers/net/veth.c, `veth_xdp_flush`).
#[inline(always)]
pub fn transmits() -> bool {
    TRANSMITS.load() != 0
}

#[unsafe(no_mangle)]
static LOST_AT: Global<[u32; 4]> = Global::new([0; 4]);

/// Where the kernel keeps what tells this gateway's devices from others ([`nat_common::abi::RODATA_LOST`]).
#[inline(always)]
pub fn lost_at() -> [u32; 4] {
    LOST_AT.load()
}

#[unsafe(no_mangle)]
static CONNTRACK: Global<u8> = Global::new(0);

/// Whether the host's connection tracking can be asked.
#[inline(always)]
pub fn asks_conntrack() -> bool {
    CONNTRACK.load() == Conntrack::Known as u8
}

/// Whether the host has connection tracking that cannot be asked.
#[inline(always)]
pub fn has_silent_conntrack() -> bool {
    CONNTRACK.load() == Conntrack::Silent as u8
}

/// A slot of the flow table. `None` only for slots that no home reaches.
#[inline(always)]
pub fn slot(index: u32) -> Option<Shared<FlowEntry>> {
    // SAFETY: an array element, which lives as long as the map; the map outlives every program that uses it.
    FLOWS.get_ptr_mut(index).and_then(|entry| unsafe { Shared::new(entry) })
}

/// How full the flow table is, and when ports ran short.
#[inline(always)]
pub fn occupancy() -> Option<Shared<Occupancy>> {
    // SAFETY: as in `slot`.
    TAKEN.get_ptr_mut(0).and_then(|occupancy| unsafe { Shared::new(occupancy) })
}

/// The EIP at `addr`, if it is one.
#[inline(always)]
pub fn eip(addr: Addr) -> Option<Eip> {
    EIPS.get_ptr(addr).map(|p| {
        // SAFETY: EIPS is only written by userspace; a torn read would need an edit of this very EIP.
        unsafe { *p }
    })
}

/// The pool that serves an inside source. `None`: not an inside address.
#[inline(always)]
pub fn pool(source: Addr) -> Option<PoolRef> {
    POOLS.get(&Key::new(32, source)).copied()
}

/// The `index`-th of all pool members.
#[inline(always)]
pub fn member(index: u32) -> Option<&'static Eip> {
    // SAFETY: array elements live as long as the map, which outlives every program that uses it. Userspace writes
    // elements that no pool refers to, as long as there are any.
    MEMBERS.get_ptr(index).map(|p| unsafe { &*p })
}

/// Which EIP has a bucket, of the table in `CHOICES` that begins with the element `table`.
#[inline(always)]
pub fn choice(table: u32, bucket: u32) -> u32 {
    let word = CHOICES.get(table + bucket / CHOICES_PER_WORD).copied().unwrap_or(0);
    (word >> (bucket % CHOICES_PER_WORD * 16)) as u32 & 0xffff
}

/// Whether a destination is routed, not translated.
#[inline(always)]
pub fn is_exempt(destination: Addr) -> bool {
    EXEMPT.get(&Key::new(32, destination)).is_some()
}

/// The `mtu` of the route that a destination's packets take; 0 when it has none.
#[inline(always)]
pub fn route_mtu(destination: Addr) -> u32 {
    ROUTE_MTU.get(&Key::new(32, destination)).copied().unwrap_or(0)
}

/// Whether the port that a tuple from outside is sent to is never claimed.
#[inline(always)]
pub fn is_reserved(tuple: &Tuple) -> bool {
    let port = ReservedPort { addr: tuple.dst, proto: tuple.proto, spare: 0, port: tuple.dport };
    RESERVED.get(&Key::new(ReservedPort::BITS, port)).is_some()
}

/// A slot of the hop table.
#[inline(always)]
pub fn hop(slot: u32) -> Option<Shared<HopSlot>> {
    // SAFETY: as in `slot`.
    HOPS.get_ptr_mut(slot).and_then(|hop| unsafe { Shared::new(hop) })
}

/// The managed interface with this ifindex.
#[inline(always)]
pub fn iface(ifindex: u32) -> Option<&'static Iface> {
    // SAFETY: an element lives at least as long as this program runs. Userspace replaces it when the interface changes; a
    // reader then sees the old one or, its place given to another interface, that one's for the rest of its packet.
    IFACES.get_ptr(ifindex).map(|p| unsafe { &*p })
}

/// The ifindex behind a devmap index; 0 for none.
#[inline(always)]
pub fn ifindex(devmap: u16) -> u32 {
    IFINDEX.get(u32::from(devmap)).copied().unwrap_or(0)
}

/// Sends the frame out of a managed interface: the XDP action, or an error when there is no such device.
#[inline(always)]
pub fn redirect(devmap: u16) -> Result<u32, u32> {
    DEVICES.redirect(u32::from(devmap), 0)
}

/// Tells the daemon about a neighbour that flows depend on, and when they did last. A lookup first: it refreshes the LRU
/// mark without taking a lock.
#[inline(always)]
pub fn note_next_hop(hop: &NextHop, now: Stamp) {
    // SAFETY: an element of the map, which stays readable and writable while this program runs.
    if let Some(noted) = NEXTHOPS.get_ptr_mut(hop).and_then(|noted| unsafe { Shared::new(noted) }) {
        // Whichever CPU writes last, it is a moment at which the hop was noted.
        noted.set(now);
    } else {
        // A full LRU evicts; a failure costs a neighbour that the kernel still resolves on demand.
        let _ = NEXTHOPS.insert(hop, now, 0);
    }
}

/// When the host last sent the echo request that an echo reply with this tuple answers. By value: Linux before 6.2 takes no
/// key out of the memory that a function was given (kernel/bpf/verifier.c, `map_key_value_types`).
#[inline(always)]
pub fn pinged(answer: Tuple) -> Option<Stamp> {
    // SAFETY: an element of the map, which stays readable while this program runs; it is only read.
    PINGS.get_ptr(answer).and_then(|noted| unsafe { Shared::new(noted.cast_mut()) }).map(Shared::get)
}

/// Notes that the host sends the echo request that an echo reply with this tuple answers.
#[inline(always)]
pub fn note_ping(answer: &Tuple, now: Stamp) {
    // A full LRU evicts what the host asked longest ago; a failure costs it an answer that a client claims meanwhile.
    let _ = PINGS.insert(answer, now, 0);
}

/// Hot-reloadable settings.
#[inline(always)]
pub fn settings() -> Option<&'static Settings> {
    // SAFETY: array elements live as long as the map, which outlives every program that uses it.
    SETTINGS.get_ptr(0).map(|p| unsafe { &*p })
}

/// This CPU's counters.
#[inline(always)]
pub fn stats() -> Option<&'static mut Stats> {
    // SAFETY: a per-CPU element, and XDP and tc programs do not preempt each other on a CPU.
    STATS.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

/// This CPU's counters of what was lost on its way out of an interface.
#[inline(always)]
pub fn lost(devmap: u32) -> Option<&'static mut Lost> {
    // SAFETY: as in `stats`; the programs that use it run in softirqs, one after the other.
    LOST.get_ptr_mut(devmap).map(|p| unsafe { &mut *p })
}

/// This CPU's counters of an EIP.
#[inline(always)]
pub fn eip_stats(slot: u32) -> Option<&'static mut EipStats> {
    // SAFETY: as in `stats`.
    EIP_STATS.get_ptr_mut(slot).map(|p| unsafe { &mut *p })
}

/// What is known of a destination that ran short of ports.
#[inline(always)]
pub fn scarcity(destination: &Destination) -> Option<Shared<Scarcity>> {
    // SAFETY: an element of the map, which stays readable and writable while this program runs.
    SCARCE.get_ptr_mut(destination).and_then(|known| unsafe { Shared::new(known) })
}

/// Remembers a destination that ran short of ports.
#[inline(always)]
pub fn remember_scarcity(destination: &Destination, scarcity: &Scarcity) {
    // A hint: when it cannot be kept, the next claim draws another walk.
    let _ = SCARCE.insert(destination, scarcity, 0);
}

/// This CPU's budget.
#[inline(always)]
pub fn budget() -> Option<&'static mut Budget> {
    // SAFETY: as in `stats`.
    BUDGET.get_ptr_mut(0).map(|p| unsafe { &mut *p })
}

/// What this CPU works on. Entry points call this once; everybody else is given it.
#[inline(always)]
pub fn work() -> Option<&'static mut Work> {
    // SAFETY: a per-CPU element, and programs that use it do not nest on a CPU. It holds the zeros that the kernel made it of,
    // which are a valid `Work`, or what an earlier run of these programs wrote: the map is not pinned, so no others write it.
    WORK.get_ptr_mut(0).map(register::not_null).map(|work| unsafe { &mut *work })
}

/// Sends an event to userspace; a full ring drops it.
#[inline(always)]
pub fn send(event: &Event) {
    if let Some(mut slot) = EVENTS.reserve_untyped::<Event>(0) {
        slot.write(*event);
        slot.submit(0);
    }
}
