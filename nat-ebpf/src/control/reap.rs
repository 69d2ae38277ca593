//! The reaper: condemns flows that are past their deadline, and deletes them once nobody can be looking.
//!
//! The initiator's stamp is where it and a reviving packet settle who was first: both change it by
//! compare-and-swap only.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{xdp_action::XDP_PASS, xdp_md},
    helpers::generated::bpf_loop,
};
use nat_common::{
    Proto, Stamp,
    reap::{REAP_BATCH, ReapAction, ReapRecord, ReapResult, ended_idle},
    stamp::DELETE_AFTER,
    table::{
        ProbeBound,
        life::{bury, condemn as condemn_pair, is_ripe},
    },
};

use crate::{
    flow::freshness,
    frame::{View, xdp::Xdp},
    kernel::clock,
    maps,
    report::stats,
    table::{self, EntryRef},
};

/// Works through the records that the "packet" holds.
#[inline(always)]
pub fn run(mut context: *mut xdp_md) -> u32 {
    // SAFETY: the callback has the signature that bpf_loop wants, and `context` outlives the call.
    unsafe { bpf_loop(REAP_BATCH as u32, record as *mut c_void, (&raw mut context).cast(), 0) };
    XDP_PASS
}

/// One record: 0 to go on, 1 at the end of the list.
unsafe extern "C" fn record(index: u32, context: *mut *mut xdp_md) -> i64 {
    if index as usize >= REAP_BATCH {
        return 1;
    }
    // SAFETY: bpf_loop passes on the pointer it was given.
    let frame = Xdp::new(unsafe { *context });
    let start = frame.start() + index as usize * size_of::<ReapRecord>();
    if start + size_of::<ReapRecord>() > frame.end() {
        return 1;
    }
    // SAFETY: a whole record from `start` is in bounds.
    let record = unsafe { &mut *(start as *mut ReapRecord) };
    let mut own = *record;
    own.result = reap(&mut own) as u32;
    *record = own;
    0
}

#[inline(never)]
fn reap(record: &mut ReapRecord) -> ReapResult {
    let now = clock::now();
    let Some(flow) = table::find(&record.key) else { return ReapResult::Gone };
    let pair = table::pair(flow, &record.key);
    if record.action == ReapAction::Delete as u32 {
        return delete(record, flow, pair, now);
    }
    let forced = record.action == ReapAction::CondemnForced as u32;
    let Some(pair) = pair else {
        // Half a pair: nothing can revive it, and no packet touches what `freshness::is_alive` refuses. Another reaper may
        // be just about to delete it, and the element may be a new flow's already.
        let last = flow.last();
        if !flow.is_still(&record.key) {
            return ReapResult::Gone;
        }
        if !last.is_dead() {
            // While it is young, it may be of a birth in progress, whose other half is about to come.
            if last.age(now) < DELETE_AFTER {
                return ReapResult::Alive;
            }
            flow.restamp(last, now.dead_for_good());
        }
        return ReapResult::Condemned;
    };
    condemn(record, flow, pair, forced)
}

/// Spelled out, because a loop whose body falls through into its head, as LLVM may lay it out, is a back-edge that
/// Linux 6.1 refuses.
#[inline(always)]
fn condemn(record: &ReapRecord, flow: EntryRef, pair: EntryRef, forced: bool) -> ReapResult {
    let lost = |result: ReapResult| forced && matches!(result, ReapResult::None);
    let mut result = try_condemn(record, flow, pair, forced);
    if lost(result) {
        result = try_condemn(record, flow, pair, forced);
    }
    if lost(result) {
        result = try_condemn(record, flow, pair, forced);
    }
    if lost(result) {
        result = try_condemn(record, flow, pair, forced);
    }
    if matches!(result, ReapResult::None) { ReapResult::Alive } else { result }
}

/// [`ReapResult::None`]: a packet was first.
#[inline(never)]
fn try_condemn(record: &ReapRecord, flow: EntryRef, pair: EntryRef, forced: bool) -> ReapResult {
    let now = clock::now();
    let pair_key = flow.pair_key(&record.key);
    let (initiator, responder) = if flow.is_initiators() { (flow, pair) } else { (pair, flow) };
    let Some(settings) = maps::settings() else { return ReapResult::Alive };
    let (first_last, other_last) = (initiator.last(), responder.last());
    // Another reaper may have deleted the flow meanwhile. If these stamps were its, the swaps below cannot hit
    // the flow that got the elements: its stamps are others.
    if !flow.is_still(&record.key) || !pair.is_still(&pair_key) {
        return ReapResult::Gone;
    }
    if first_last.is_dead() && other_last.is_dead() {
        return ReapResult::Condemned;
    }
    let phase = freshness::phase(record.key.proto, initiator, responder);
    if !forced
        && !first_last.is_dead()
        && !other_last.is_dead()
        && !settings.timeouts.is_expired(record.key.proto, phase, first_last, other_last, now)
    {
        return ReapResult::Alive;
    }
    let death = if forced { now.dead_for_good() } else { now.dead() };
    if condemn_pair(initiator, responder, first_last, other_last, death) {
        return ReapResult::Condemned;
    }
    ReapResult::None
}

#[inline(always)]
fn delete(record: &mut ReapRecord, flow: EntryRef, pair: Option<EntryRef>, now: Stamp) -> ReapResult {
    if !is_ripe(flow.last(), now) || !pair.is_none_or(|p| is_ripe(p.last(), now)) {
        return ReapResult::Alive;
    }
    let deciding = match pair {
        Some(pair) if !flow.is_initiators() => pair,
        _ => flow,
    };
    if !bury(deciding, now) {
        return ReapResult::Alive;
    }
    let entry = flow.entry();
    record.packets = entry.packets;
    record.bytes = entry.bytes;
    record.seen = entry.seen & !ProbeBound::MASK;
    let Some(pair) = pair else {
        table::remove(&record.key);
        return ReapResult::Deleted;
    };
    let other = pair.entry();
    record.pair_packets = other.packets;
    record.pair_bytes = other.bytes;
    record.pair_seen = other.seen & !ProbeBound::MASK;
    table::remove(&entry.pair_key(&record.key));
    table::remove(&record.key);
    let (out, back) = if entry.is_initiators() { (entry.seen, other.seen) } else { (other.seen, entry.seen) };
    if let Some(proto) = Proto::from_number(record.key.proto) {
        stats::count(|s| {
            s.deaths[proto.index()] += 1;
            if ended_idle(record.key.proto, out, back) {
                s.idle_timeouts[proto.index()] += 1;
            }
        });
    }
    ReapResult::Deleted
}
