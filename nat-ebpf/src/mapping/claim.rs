//! Claiming a port: the reverse entry's insertion *is* the claim, so two flows can never hold one tuple.
//!
//! Quick probes on the host's own EIP, then on the next ones, then a deep walk that resumes where the last
//! one for the same destination stopped. While a destination is known to be short, a claim draws on a
//! per-CPU budget from its first probe, so nobody can burn a CPU by asking for ports that are not there.

use core::{ffi::c_void, ptr};

use aya_ebpf::helpers::generated::bpf_loop;
use nat_common::{
    FlowEntry, Proto, Stamp, Tuple,
    ports::Walk,
    scarce::Scarcity,
    settings::{DEEP_PROBES, QUICK_EIPS, QUICK_PROBES},
    table::insert::Inserted,
};

use super::scarcity;
use crate::{
    budget,
    frame::{Frame, checked_alone},
    kernel::{memory::Shared, sockets},
    maps,
    policy::{own_nat, own_pings},
    report::stats,
    table,
    work::{
        Work,
        port::{Outcome, Search},
    },
};

checked_alone! {
    /// Searches a port for the flow of the packet at hand, beginning with the search that was prefetched. `work.search` has
    /// the outcome and, when a port was claimed, the key of the reverse entry.
    pub fn claim<F: Frame>(frame, work) -> bool = search; Xdp as claim_xdp, Skb as claim_skb, Ip as claim_ip
}

#[inline(always)]
fn search<F: Frame>(frame: F, work: &mut Work) -> bool {
    work.random.next();
    let destination = scarcity::destination(&work.packet.tuple, &work.search);
    work.search.probed = 0;
    work.search.outcome = Outcome::Exhausted;
    let is_short = scarcity::is_short(&destination, work.now);
    if !is_short {
        each::<F, Quick>(frame, work, QUICK_EIPS);
    }
    if work.search.outcome == Outcome::Exhausted
        && let Some(walk) = scarcity::of(&destination, work.search.own, &mut work.random)
    {
        deep(frame, work, walk, is_short);
    }
    stats::count(|s| s.probes += u64::from(work.search.probed));
    true
}

/// What a step of a search is given.
#[repr(C)]
struct Given<F> {
    frame: F,
    work: *mut Work,
}

/// Whether a search goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    /// It goes on with the next step.
    On,
    /// It is over: a port was claimed, or there is none to be had.
    Over,
}

/// One step of a search.
trait Step<F> {
    /// Does the `nth` step.
    fn step(frame: F, work: &mut Work, nth: u32) -> Next;
}

/// Takes steps of a search until one says that it is over, `limit` at most.
#[inline(always)]
fn each<F: Frame, S: Step<F>>(frame: F, work: &mut Work, limit: u32) {
    let mut given = Given { frame, work: ptr::from_mut(work) };
    // SAFETY: the callback has the signature that bpf_loop wants, and `given` outlives the call.
    unsafe { bpf_loop(limit, callback::<F, S> as *mut c_void, (&raw mut given).cast(), 0) };
}

/// What `bpf_loop` calls for each step. It wants 0 to go on, 1 to stop.
unsafe extern "C" fn callback<F: Frame, S: Step<F>>(nth: u32, given: *mut Given<F>) -> i64 {
    // SAFETY: bpf_loop passes on the pointer that it was given; the work is lent for the call.
    let (frame, work) = unsafe { ((*given).frame, &mut *(*given).work) };
    i64::from(S::step(frame, work, nth) == Next::Over)
}

/// Quick probes on the `nth` EIP from the client's own.
struct Quick;

impl<F: Frame> Step<F> for Quick {
    #[inline(always)]
    fn step(frame: F, work: &mut Work, nth: u32) -> Next {
        if nth >= work.search.count {
            return Next::Over;
        }
        // Step 0 is the client's own EIP: its probes cost no budget, and `prefetch` has begun the walk over its ports. The pool's
        // other EIPs on the same link are paid for, and each gets a walk of its own here.
        if nth > 0 {
            if budget::take_probes(QUICK_PROBES, work.now) < QUICK_PROBES {
                return Next::Over;
            }
            let index = work.search.own + nth;
            enter(&mut work.search, index);
            work.search.walk = Walk::keyed(work.random.bits(), work.search.ports.prime.max(1));
            work.random.next();
        }
        if !work.search.is_open {
            return Next::On;
        }
        each::<F, Probe>(frame, work, QUICK_PROBES);
        if work.search.outcome == Outcome::Exhausted { Next::On } else { Next::Over }
    }
}

/// Turns to the `index`-th EIP on the client's link (cyclic).
#[inline(always)]
fn enter(search: &mut Search, index: u32) {
    match maps::member(search.first + index % search.count.max(1)) {
        Some(eip) => search.turn_to(eip),
        None => search.is_open = false,
    }
}

/// Goes on with the destination's walk over all ports of all EIPs.
#[inline(never)]
fn deep<F: Frame>(frame: F, work: &mut Work, destination: Shared<Scarcity>, is_short: bool) {
    let mut walk = destination.get();
    let now = work.now;
    let granted = budget::take_probes(DEEP_PROBES, now);
    if granted == 0 {
        // Quick probes have failed and nobody may look further: short for another while, or the next packet's quick
        // probes would be free again. A destination that no walk has found full is not called so on this evidence.
        if !is_short && walk.is_failing != 0 {
            scarcity::fail(&mut walk, now);
            destination.set(walk);
        }
        return;
    }
    enter(&mut work.search, walk.member);
    if work.search.is_open {
        // The walk belongs to the destination, not to the client: successive attempts cover the range.
        let prime = work.search.ports.prime.max(1);
        work.search.walk = Walk::keyed(walk.nonce, prime);
        if walk.steps > 0 && walk.position < prime {
            work.search.walk.position = walk.position;
        }
        let before = work.search.probed;
        each::<F, Probe>(frame, work, granted);
        walk.position = work.search.walk.position;
        walk.steps += work.search.probed - before;
        if walk.steps >= prime {
            walk.steps = 0;
            walk.member += 1;
        }
    } else {
        walk.steps = 0;
        walk.member += 1;
    }
    walk.is_failing = u32::from(work.search.outcome == Outcome::Exhausted);
    if walk.is_failing == 0 {
        scarcity::redraw(&mut walk, &mut work.random);
        walk.failed = now;
    } else {
        scarcity::fail(&mut walk, now);
    }
    destination.set(walk);
}

/// One port.
struct Probe;

impl<F: Frame> Step<F> for Probe {
    #[inline(always)]
    fn step(frame: F, work: &mut Work, _: u32) -> Next {
        let now = work.now;
        let search = &mut work.search;
        let position = search.walk.step(search.ports.prime);
        search.probed += 1;
        let Some(port) = search.ports.port(position) else { return Next::On };
        search.reverse.dport = port;
        // Whether the port is taken is looked up before the costlier questions below, except for the first port that is tried:
        // it is free in most cases, and the insertion at the end finds out anyway.
        if search.probed > 1 && table::find(&search.reverse).is_some() {
            return Next::On;
        }
        if search.reserves && maps::is_reserved(&search.reverse) {
            return Next::On;
        }
        if search.shared && is_hosts(frame, &search.reverse, now) {
            return Next::On;
        }
        prepare(work);
        work.search.outcome = match table::insert(&work.search.reverse, &work.entry, 2) {
            Inserted::Done => Outcome::Claimed,
            Inserted::Full => Outcome::TableFull,
            // Another CPU took the port after the lookup above (Exists), or changed the same words of the table (Disturbed), or
            // no slot is free near this entry's home (Crowded). The entry of another port has another home: try the next port.
            Inserted::Exists | Inserted::Disturbed | Inserted::Crowded => return Next::On,
        };
        Next::Over
    }
}

/// Whether what arrives for this tuple is the host's own, on an EIP that is its address too.
#[inline(always)]
fn is_hosts<F: Frame>(frame: F, reverse: &Tuple, now: Stamp) -> bool {
    if reverse.proto == Proto::Icmp as u8 {
        own_pings::is_hosts(reverse, now)
    } else {
        sockets::holds(frame.context(), reverse) || own_nat::is_hosts(frame, reverse)
    }
}

/// Prepares the reverse entry: what arrives for the claimed port becomes the client's.
///
/// Out of line: its frame is gone again before the insertion, where the stack is deepest.
#[inline(never)]
fn prepare(work: &mut Work) {
    let reverse = work.search.reverse;
    let key = &work.packet.tuple;
    let becomes = Tuple { src: reverse.src, dst: key.src, sport: reverse.sport, dport: key.sport, ..reverse };
    work.entry = FlowEntry::new(&reverse, &becomes, 0, work.now);
}
