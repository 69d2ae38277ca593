//! Claiming a port: the reverse entry's insertion *is* the claim, so two flows can never hold one tuple.
//!
//! Quick probes on the host's own EIP, then on the next ones, then a deep walk that resumes where the last
//! one for the same destination stopped. While a destination is known to be short, a claim draws on a
//! per-CPU budget from its first probe, so nobody can burn a CPU by asking for ports that are not there.

use core::ffi::c_void;

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_loop, programs::XdpContext};
use bytemuck::{Pod, Zeroable};
use nat_common::{
    Addr, Eip, FlowEntry, PoolRef, Port, Proto, Side, Stamp, Ticks, Tuple,
    ports::{PortSet, Walk},
    settings::{DEEP_PROBES, QUICK_EIPS, QUICK_PROBES},
    stats::EipStats,
};

use crate::{
    budget, flow::life, kernel::sockets, mapping::random, maps, policy::ping, report::stats, table,
    table::InsertError, work,
};

/// How long a destination counts as short of ports after a walk found none.
const SCARCE: Ticks = Ticks::from_ms(1000);

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
///
/// The walk is drawn at random, and anew whenever it found a port. A port tells whoever sees it at the destination a
/// position on the walk; two positions of one walk would tell its stride, and with it every port that follows. As long as
/// it finds nothing it tells nothing, and goes on: so successive failing attempts try every port of every EIP once.
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
    /// The random bits that the walk is keyed by.
    nonce: u32,
}

impl Scarcity {
    /// Begins another walk, of the same member.
    #[inline(always)]
    fn redraw(&mut self) {
        self.nonce = random::random();
        random::next();
        self.steps = 0;
    }

    /// Says that a walk found nothing.
    #[inline(always)]
    fn fail(&mut self, now: Stamp) {
        self.failed = now;
        if let Some(occupancy) = maps::occupancy() {
            occupancy.scarce = now;
        }
    }
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

/// A claim in progress. Part of the scratch space, see [`crate::work`].
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
    /// Index into the counters of the EIP.
    slot: u32,
    /// 1: the EIP is the host's own address too.
    shared: u32,
    /// 1: some of its ports are never claimed.
    reserves: u32,
    /// [`Claimed`] as a number.
    outcome: u32,
    /// 1: the client's own EIP takes new flows.
    is_open: u32,
    /// When the claim began.
    now: Stamp,
}

/// Guesses what a claim for the flow that a packet with tuple `key` may start would come to, and fetches the place of
/// that reverse entry. Before anything else is asked: a birth waits for the memory of two places, and only so does it
/// wait for both at once, because a CPU looks no more than a few hundred instructions beyond what it is waiting for.
///
/// The guess is that the client's pool is that of the last claim on this CPU.
#[inline(never)]
pub fn foresee(key: &Tuple) {
    let (Some(settings), Some(search)) = (maps::settings(), work::search()) else { return };
    // One inside host keeps one EIP (RFC 4787 REQ-2).
    let own = if search.pool.count > 1 { settings.choice.choose(key.src, search.pool.count) } else { 0 };
    let Some(eip) = maps::member(search.pool.first + own) else { return };
    let mut reverse = Tuple {
        src: key.dst,
        dst: eip.addr,
        sport: key.dport,
        dport: Port::default(),
        proto: key.proto,
        side: Side::opposite(key.side),
        place: 0,
    };
    // Of a random start nobody can foretell the ports that follow (RFC 6056 section 3.3.1).
    let walk = Walk::keyed(random::random(), eip.ports.prime.max(1));
    if let Some(port) = eip.ports.port(walk.position) {
        reverse.dport = port;
        table::fetch(&reverse);
    }
    search.key = *key;
    search.reverse = reverse;
    search.own = own;
    search.walk = walk;
    search.is_open = u32::from(search.turn_to(eip));
}

/// Begins the claim that was foreseen, now that the pool is known. Returns the client's own EIP, the unspecified address
/// when the pool has none.
#[inline(never)]
pub fn begin(key: &Tuple, pool: &PoolRef) -> Addr {
    let Some(search) = work::search() else { return Addr::default() };
    if search.pool != *pool {
        search.pool = *pool;
        foresee(key);
    }
    let Some(search) = work::search() else { return Addr::default() };
    if pool.count == 0 { Addr::default() } else { search.reverse.dst }
}

/// Claims a port for the flow that was begun; the key of its reverse entry is then in the scratch space,
/// `search.reverse`.
///
/// The steps write the search that is in progress, so no reference to it may live across [`each`]: the compiler
/// would take what it knows from before for what is true after. It is borrowed anew instead.
#[inline(always)]
pub fn claim(ctx: &XdpContext) -> Claimed {
    claim_claim(ctx.ctx)
}

/// Global for the verifier's sake, as in `table.rs`.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn claim_claim(ctx: *mut xdp_md) -> Claimed {
    let ctx = &XdpContext::new(ctx);
    let Some(now) = work::missed().map(|missed| missed.now) else { return Claimed::Exhausted };
    let Some(search) = work::search() else { return Claimed::Exhausted };
    random::next();
    let Tuple { dst, dport, proto, .. } = search.key;
    search.destination = Destination { dst, dport, proto, spare: 0, pool: search.pool.pool };
    search.now = now;
    search.probed = 0;
    search.outcome = Claimed::Exhausted as u32;
    let is_short = is_short(search);
    if !is_short {
        each(ctx, QUICK_EIPS, quick_step);
    }
    let Some(search) = work::search() else { return Claimed::Exhausted };
    if search.outcome == Claimed::Exhausted as u32
        && let Some(at) = maps::scarcity(&search.destination).or_else(|| remember(search))
    {
        deep(ctx, at, is_short);
    }
    let Some(search) = work::search() else { return Claimed::Exhausted };
    stats::count(|s| s.probes += u64::from(search.probed));
    match search.outcome {
        o if o == Claimed::Port as u32 => Claimed::Port,
        o if o == Claimed::TableFull as u32 => Claimed::TableFull,
        _ => Claimed::Exhausted,
    }
}

/// Whether ports towards the destination were short a moment ago.
#[inline(always)]
fn is_short(search: &Search) -> bool {
    // Mostly no destination at all was.
    if maps::occupancy().is_none_or(|o| o.scarce.age(search.now) >= SCARCE) {
        return false;
    }
    match maps::scarcity(&search.destination) {
        Some(k) => k.is_failing != 0 && k.failed.age(search.now) < SCARCE,
        None => false,
    }
}

#[inline(always)]
fn remember(search: &Search) -> Option<&'static mut Scarcity> {
    let mut start = Scarcity {
        failed: Stamp::default(),
        member: search.own,
        position: 0,
        steps: 0,
        is_failing: 0,
        nonce: 0,
    };
    start.redraw();
    maps::remember_scarcity(&search.destination, &start);
    maps::scarcity(&search.destination)
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
    let Some(search) = work::search() else { return 1 };
    if nth >= search.pool.count {
        return 1;
    }
    // Only the client's own EIP is free of charge.
    if nth > 0 && budget::take_probes(QUICK_PROBES, search.now) < QUICK_PROBES {
        return 1;
    }
    if nth == 0 {
        // Its walk is foreseen.
        if search.is_open == 0 {
            return 0;
        }
    } else if search.enter(search.own + nth) {
        search.walk = Walk::keyed(random::random(), search.ports.prime.max(1));
        random::next();
    } else {
        return 0;
    }
    // SAFETY: bpf_loop passes on the pointer it was given.
    each(&XdpContext::new(unsafe { *context }), QUICK_PROBES, probe_step);
    let Some(search) = work::search() else { return 1 };
    i64::from(search.outcome != Claimed::Exhausted as u32)
}

/// Goes on with the destination's walk over all ports of all EIPs.
#[inline(never)]
fn deep(ctx: &XdpContext, at: &mut Scarcity, is_short: bool) {
    let Some(search) = work::search() else { return };
    let now = search.now;
    let granted = budget::take_probes(DEEP_PROBES, now);
    if granted == 0 {
        // Quick probes have failed and nobody may look further: short for another while, or the next packet's quick
        // probes would be free again. A destination that no walk has found full is not called so on this evidence.
        if !is_short && at.is_failing != 0 {
            at.fail(now);
        }
        return;
    }
    if search.enter(at.member) {
        // The walk belongs to the destination, not to the client: successive attempts cover the range.
        let prime = search.ports.prime.max(1);
        search.walk = Walk::keyed(at.nonce, prime);
        if at.steps > 0 && at.position < prime {
            search.walk.position = at.position;
        }
        let before = search.probed;
        each(ctx, granted, probe_step);
        let Some(search) = work::search() else { return };
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
    let Some(search) = work::search() else { return };
    at.is_failing = u32::from(search.outcome == Claimed::Exhausted as u32);
    if at.is_failing == 0 {
        at.redraw();
        at.failed = now;
    } else {
        at.fail(now);
    }
}

/// One port: 0 to go on, 1 when the search is over.
unsafe extern "C" fn probe_step(_index: u32, context: *mut *mut xdp_md) -> i64 {
    let Some(search) = work::search() else { return 1 };
    let position = search.walk.step(search.ports.prime);
    search.probed += 1;
    let Some(port) = search.ports.port(position) else { return 0 };
    search.reverse.dport = port;
    // The first port is mostly free, and the insertion looks too.
    if search.probed > 1 && table::find(&search.reverse).is_some() {
        return 0;
    }
    if search.reserves != 0 && maps::is_reserved(&search.reverse) {
        return 0;
    }
    if search.shared != 0 {
        let is_hosts = if search.reverse.proto == Proto::Icmp as u8 {
            ping::is_hosts(&search.reverse, search.now)
        } else {
            // SAFETY: bpf_loop passes on the pointer it was given.
            sockets::holds(unsafe { *context }, &search.reverse)
        };
        if is_hosts {
            return 0;
        }
    }
    let outcome = match insert_reverse(search) {
        Ok(()) => Claimed::Port,
        Err(InsertError::Full) => Claimed::TableFull,
        // Another CPU took the port between the look and the insertion, or was in the way, or there is no place where
        // this port's entry would stand; another port's home is elsewhere: walk on.
        Err(InsertError::Exists | InsertError::Disturbed | InsertError::Crowded) => return 0,
    };
    search.outcome = outcome as u32;
    1
}

/// Inserts the reverse entry: what arrives for the claimed port becomes the client's.
#[inline(always)]
fn insert_reverse(search: &Search) -> Result<(), InsertError> {
    prepare_reverse(search);
    table::insert(&search.reverse, 2)
}

/// Out of line: its frame is gone again before the insertion, where the stack is deepest.
#[inline(never)]
fn prepare_reverse(search: &Search) {
    let Some(entry) = work::entry() else { return };
    let becomes = Tuple {
        src: search.reverse.src,
        dst: search.key.src,
        sport: search.reverse.sport,
        dport: search.key.sport,
        ..search.reverse
    };
    *entry = FlowEntry::new(&search.reverse, &becomes, 0, search.now);
}

impl Search {
    /// Whether the port was claimed on the client's own EIP.
    #[inline(always)]
    pub fn is_own_eip(&self) -> bool {
        maps::member(self.pool.first + self.own).is_some_and(|eip| eip.addr == self.reverse.dst)
    }

    /// Applies `f` to this CPU's counters of the EIP.
    #[inline(always)]
    pub fn count(&self, f: impl FnOnce(&mut EipStats)) {
        if let Some(stats) = maps::eip_stats(self.slot) {
            f(stats);
        }
    }

    /// Turns to the pool's `index`-th EIP (cyclic); whether it takes new flows.
    #[inline(always)]
    fn enter(&mut self, index: u32) -> bool {
        let eip = maps::member(self.pool.first + index % self.pool.count.max(1));
        eip.is_some_and(|eip| self.turn_to(eip))
    }

    #[inline(always)]
    fn turn_to(&mut self, eip: &Eip) -> bool {
        self.reverse.dst = eip.addr;
        self.ports = eip.ports;
        self.slot = eip.slot;
        self.shared = u32::from(eip.shared);
        self.reserves = u32::from(eip.reserves);
        life::is_active(eip) && eip.ports.count > 0
    }
}
