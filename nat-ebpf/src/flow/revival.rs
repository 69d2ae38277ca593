//! Revival: a flow that is past its deadline, and not deleted yet, is taken back by a packet that could start it anew.

use nat_common::{
    Proto, Reason, Stamp, Verdict,
    reap::ended_idle,
    table::life::{TakenBack, take_back as take_back_pair},
    tcp,
};

use crate::{
    kernel::clock,
    maps,
    report::stats,
    table::{self, EntryRef},
    work::{Work, packet::Packet},
};

/// Takes the flow of the packet at hand back, if it has one that is past its deadline: whether it did. The packet may start a
/// flow.
#[inline(always)]
pub fn take_back(work: &Work) -> Result<bool, Verdict> {
    if work.is_known
        && let Some(existing) = table::find(&work.packet.tuple)
    {
        return revive(&work.packet, existing, work.now).map(|()| true);
    }
    Ok(false)
}

/// Takes back, in place, a pair that is past its deadline. The packet may start a flow.
#[inline(never)]
fn revive(packet: &Packet, flow: EntryRef, now: Stamp) -> Result<(), Verdict> {
    let expired = || Err(Verdict::drop(Reason::Expired));
    // An EIP that was drained or removed meanwhile serves no new flows, and this is a new one.
    if !maps::eip(flow.new_src()).is_some_and(|eip| eip.is_active()) {
        return expired();
    }
    let Some(pair) = table::pair(flow, &packet.tuple) else { return expired() };
    let (seen, pair_seen) = (flow.seen(), pair.seen());
    match take_back_pair(flow, pair, clock::now) {
        TakenBack::Now => {}
        TakenBack::Already => return Ok(()),
        TakenBack::Not => return expired(),
    }
    flow.clear_seen(tcp::FLAGS);
    pair.clear_seen(tcp::FLAGS);
    flow.restart(now);
    pair.restart(now);
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        stats::count(|s| {
            s.revivals += 1;
            s.attempts[proto.index()] += 1;
            if ended_idle(packet.tuple.proto, seen, pair_seen) {
                s.idle_timeouts[proto.index()] += 1;
            }
        });
    }
    Ok(())
}
