//! By which EIP and port a new flow leaves.
//!
//! A flow is mapped when the first packet of it is: `prefetch` guesses, `choose` finds the client's EIP once its pool is
//! known, and `endpoint` claims a port there, or on another EIP of the pool.

pub mod claim;
pub mod prefetch;
mod random;
mod scarcity;
pub mod uplink;

use nat_common::{Addr, PoolRef, Proto, Reason, Verdict, event::EventKind, stats::EipStats};

use crate::{
    frame::Frame,
    maps,
    report::{events, log, stats},
    work::{
        Work,
        port::{Outcome, Search},
        route::Hop,
    },
};

pub use prefetch::prefetch;

/// The client's own EIP in its pool: one inside host keeps one EIP (RFC 4787 REQ-2).
#[inline(always)]
pub fn choose(work: &mut Work, pool: &PoolRef) -> Result<Addr, Verdict> {
    prefetch::correct(work, pool);
    let eip = work.search.reverse.dst;
    if pool.count == 0 || eip == Addr::default() {
        return Err(Verdict::drop(Reason::Policy));
    }
    Ok(eip)
}

/// Claims a port for the flow of the packet at hand: its reverse entry is then in the table, under `work.search.reverse`.
#[inline(always)]
pub fn endpoint<F: Frame>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    let Some(proto) = Proto::from_number(work.packet.tuple.proto) else {
        return Err(Verdict::drop(Reason::UnsupportedProto));
    };
    stats::count(|s| s.attempts[proto.index()] += 1);
    let own = work.search.reverse.dst;
    claim::claim(frame, work);
    match work.search.outcome {
        Outcome::Claimed => {}
        Outcome::TableFull => {
            events::tell(EventKind::TableFull, &work.packet.tuple);
            return Err(Verdict::drop(Reason::TableFull));
        }
        Outcome::Exhausted => return Err(exhausted(work, proto, own)),
    }
    if !is_own(&work.search) {
        // Another EIP may leave by another route.
        work.route.hop = Hop::UNRESOLVED;
    }
    log::born(frame, &work.packet.tuple, &work.search.reverse);
    if let Some(stats) = maps::eip_stats(work.search.slot) {
        stats.births[proto.index()] += 1;
    }
    Ok(())
}

/// No port was found.
#[inline(always)]
fn exhausted(work: &Work, proto: Proto, own: Addr) -> Verdict {
    events::tell(EventKind::PortExhausted, &work.packet.tuple);
    stats::count(|s| s.port_allocation_errors += 1);
    count_on(own, |s| s.port_allocation_errors[proto.index()] += 1);
    Verdict::drop(Reason::PortExhausted)
}

/// Whether the port was claimed on the client's own EIP.
#[inline(always)]
fn is_own(search: &Search) -> bool {
    maps::member(search.first + search.own).is_some_and(|eip| eip.addr == search.reverse.dst)
}

#[inline(always)]
fn count_on(eip: Addr, f: impl FnOnce(&mut EipStats)) {
    if let Some(eip) = maps::eip(eip)
        && let Some(stats) = maps::eip_stats(eip.slot)
    {
        f(stats);
    }
}
