//! Claiming a port: the reverse entry's insertion *is* the claim, so two flows can never hold one tuple.
//!
//! Quick probes on the host's own EIP, then on the next ones, then a deep walk that resumes where the last
//! one for the same destination stopped. While a destination is known to be short, a claim draws on a
//! per-CPU budget from its first probe, so nobody can burn a CPU by asking for ports that are not there.

use core::ffi::c_void;

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_loop, programs::XdpContext};
use bytemuck::{Pod, Zeroable};
use nat_common::{
    Addr, FlowEntry, PoolRef, Port, Proto, Side, Stamp, Tuple,
    ports::{PortSet, Walk},
    settings::{DEEP_PROBES, QUICK_EIPS, QUICK_PROBES},
};

use crate::{
    budget, clock, host, life, maps, scratch, secret, stats,
    table::{self, InsertError},
};

/// How long a destination counts as short of ports after a walk found none.
const SCARCE_MS: u32 = 1000;

/// Key of `SCARCE`: ports are scarce per remote endpoint and pool, never globally.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Destination {
    dst: Addr,
    dport: Port,
    proto: u8,
    spare: u8,
    pool: u32,
}

/// Value of `SCARCE`: where the deep walk goes on, and whether it makes sense to.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Scarcity {
    /// When a walk was last taken.
    failed: Stamp,
    /// Member of the pool that the walk is on.
    member: u32,
    /// Position on its port ring.
    position: u32,
    /// Steps taken on it.
    steps: u32,
    /// 1: the last walk found nothing.
    is_failing: u32,
}

/// Outcome of a claim.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Claimed {
    /// The reverse entry is in the table.
    Port,
    /// No port.
    Exhausted,
    /// No room for another entry.
    TableFull,
}

/// A claim in progress. Part of the scratch space, see [`crate::scratch`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Search {
    /// Tuple of the packet that asks.
    key: Tuple,
    /// Key of the reverse entry; its destination is what is being searched.
    pub reverse: Tuple,
    /// Where to.
    destination: Destination,
    /// The client's pool.
    pool: PoolRef,
    /// The member of the pool that is the client's own EIP.
    own: u32,
    ports: PortSet,
    walk: Walk,
    probed: u32,
    /// 1: the EIP is the host's own address too.
    shared: u32,
    /// [`Claimed`] as a number.
    outcome: u32,
}

/// Claims a port for the flow that a packet with tuple `key` starts; the key of its reverse entry is then
/// in the scratch space, `search.reverse`.
///
/// The steps write the search that is in progress, so no reference to it may live across [`each`]: the compiler
/// would take what it knows from before for what is true after. It is borrowed anew instead.
#[inline(never)]
pub fn claim(ctx: &XdpContext, key: &Tuple, pool: &PoolRef, own: u32) -> Claimed {
    let Some(search) = scratch::search() else { return Claimed::Exhausted };
    search.key = *key;
    search.reverse = Tuple {
        src: key.dst,
        dst: Addr::default(),
        sport: key.dport,
        dport: Port::default(),
        proto: key.proto,
        side: Side::opposite(key.side),
        place: 0,
    };
    search.pool = *pool;
    search.own = own;
    search.probed = 0;
    search.outcome = Claimed::Exhausted as u32;
    search.destination =
        Destination { dst: key.dst, dport: key.dport, proto: key.proto, spare: 0, pool: pool.pool };
    let known = maps::scarcity(&search.destination);
    let is_short = match &known {
        Some(k) => k.is_failing != 0 && k.failed.age_ms(clock::now()) < SCARCE_MS,
        None => false,
    };
    if !is_short {
        each(ctx, QUICK_EIPS, quick_step);
    }
    let Some(search) = scratch::search() else { return Claimed::Exhausted };
    if search.outcome == Claimed::Exhausted as u32 {
        if known.is_none() {
            let start =
                Scarcity { failed: Stamp::default(), member: own, position: 0, steps: 0, is_failing: 0 };
            maps::remember_scarcity(&search.destination, &start);
        }
        if let Some(at) = known.or_else(|| maps::scarcity(&search.destination)) {
            deep(ctx, at, is_short);
        }
    }
    let Some(search) = scratch::search() else { return Claimed::Exhausted };
    stats::count(|s| s.probes += u64::from(search.probed));
    match search.outcome {
        o if o == Claimed::Port as u32 => Claimed::Port,
        o if o == Claimed::TableFull as u32 => Claimed::TableFull,
        _ => Claimed::Exhausted,
    }
}

/// Calls a step of the search up to `limit` times, until it returns 1. The stack is the only memory that
/// `bpf_loop` passes on, so steps find the search in the scratch space.
#[inline(always)]
fn each(ctx: &XdpContext, limit: u32, step: unsafe extern "C" fn(u32, *mut *mut xdp_md) -> i64) {
    let mut context = ctx.ctx;
    // SAFETY: the callback has the signature that bpf_loop wants, and `context` outlives the call.
    unsafe { bpf_loop(limit, step as *mut c_void, (&raw mut context).cast(), 0) };
}

/// Quick probes on the `nth` EIP from the client's own: 0 to go on with the next, 1 when the search is over.
unsafe extern "C" fn quick_step(nth: u32, context: *mut *mut xdp_md) -> i64 {
    let Some(search) = scratch::search() else { return 1 };
    if nth >= search.pool.count {
        return 1;
    }
    // Only the client's own EIP is free of charge.
    if nth > 0 && budget::take_probes(QUICK_PROBES, clock::now()) < QUICK_PROBES {
        return 1;
    }
    if !search.enter(search.own + nth) {
        return 0;
    }
    search.walk = Walk::keyed(
        walk_key(search.key.addresses(), search.key.rest(), search.reverse.dst),
        search.ports.prime.max(1),
    );
    // SAFETY: bpf_loop passes on the pointer it was given.
    each(&XdpContext::new(unsafe { *context }), QUICK_PROBES, probe_step);
    let Some(search) = scratch::search() else { return 1 };
    i64::from(search.outcome != Claimed::Exhausted as u32)
}

/// Goes on with the destination's walk over all ports of all EIPs.
#[inline(never)]
fn deep(ctx: &XdpContext, at: &mut Scarcity, is_short: bool) {
    let Some(search) = scratch::search() else { return };
    let now = clock::now();
    let granted = budget::take_probes(DEEP_PROBES, now);
    if granted == 0 {
        // Quick probes have failed and nobody may look further: short for another while, or the next packet's quick
        // probes would be free again. A destination that no walk has found full is not called so on this evidence.
        if !is_short && at.is_failing != 0 {
            at.failed = now;
        }
        return;
    }
    if search.enter(at.member) {
        // The walk belongs to the destination, not to the client: successive attempts cover the range.
        let prime = search.ports.prime.max(1);
        let (dst, dport) = (u64::from(search.key.dst.be), u64::from(search.key.dport.be));
        let ports_and_proto = dport << 16 | u64::from(search.key.proto) << 32;
        search.walk = Walk::keyed(walk_key(dst << 32, ports_and_proto, search.reverse.dst), prime);
        if at.steps > 0 && at.position < prime {
            search.walk.position = at.position;
        }
        let before = search.probed;
        each(ctx, granted, probe_step);
        let Some(search) = scratch::search() else { return };
        at.position = search.walk.position;
        at.steps += search.probed - before;
        if at.steps >= prime {
            at.steps = 0;
            at.member += 1;
        }
    } else {
        at.steps = 0;
        at.member += 1;
    }
    let Some(search) = scratch::search() else { return };
    at.is_failing = u32::from(search.outcome == Claimed::Exhausted as u32);
    at.failed = now;
}

/// One port: 0 to go on, 1 when the search is over.
unsafe extern "C" fn probe_step(_index: u32, context: *mut *mut xdp_md) -> i64 {
    let Some(search) = scratch::search() else { return 1 };
    let position = search.walk.step(search.ports.prime);
    search.probed += 1;
    let Some(port) = search.ports.port(position) else { return 0 };
    search.reverse.dport = port;
    if table::find(&search.reverse).is_some() {
        return 0;
    }
    if search.shared != 0 && search.reverse.proto != Proto::Icmp as u8 {
        // SAFETY: bpf_loop passes on the pointer it was given.
        let ctx = unsafe { *context };
        if host::holds(ctx, &search.reverse) {
            return 0;
        }
    }
    let outcome = match insert_reverse(search) {
        Ok(()) => Claimed::Port,
        Err(InsertError::Full) => Claimed::TableFull,
        // Another CPU took the port between the look and the insertion, or was in the way: walk on.
        Err(InsertError::Exists | InsertError::Disturbed) => return 0,
    };
    search.outcome = outcome as u32;
    1
}

/// Inserts the reverse entry: what arrives for the claimed port becomes the client's.
#[inline(always)]
fn insert_reverse(search: &Search) -> Result<(), InsertError> {
    prepare_reverse(search);
    table::insert(&search.reverse)
}

/// Out of line: its frame is gone again before the insertion, where the stack is deepest.
#[inline(never)]
fn prepare_reverse(search: &Search) {
    let Some(entry) = scratch::entry() else { return };
    let becomes = Tuple {
        src: search.reverse.src,
        dst: search.key.src,
        sport: search.reverse.sport,
        dport: search.key.sport,
        ..search.reverse
    };
    *entry = FlowEntry::new(&search.reverse, &becomes, 0, clock::now());
}

impl Search {
    /// Whether the port was claimed on the client's own EIP.
    #[inline(always)]
    pub fn is_own_eip(&self) -> bool {
        maps::member(self.pool.first + self.own) == Some(self.reverse.dst)
    }

    /// Turns to the pool's `index`-th EIP (cyclic); whether it takes new flows.
    #[inline(always)]
    fn enter(&mut self, index: u32) -> bool {
        let Some(addr) = maps::member(self.pool.first + index % self.pool.count.max(1)) else { return false };
        let Some(eip) = maps::eip(addr) else { return false };
        self.reverse.dst = addr;
        self.ports = eip.ports;
        self.shared = u32::from(eip.shared);
        life::is_active(&eip) && eip.ports.count > 0
    }
}

/// Where a walk starts and how it strides: a keyed function of the tuple and the EIP (RFC 6056 section 3.3.3).
#[inline(always)]
fn walk_key(addresses: u64, ports_and_proto: u64, eip: Addr) -> u64 {
    secret::keyed(addresses, ports_and_proto ^ u64::from(eip.be) << 32)
}
