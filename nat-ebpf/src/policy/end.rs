//! The end of a flow that must not go on, made by a packet. It is deleted by the reaper, as any other.

use nat_common::{FlowEntry, Stamp, Tuple, stamp::REVIVE_WINDOW};

use crate::{
    kernel::clock,
    table::{self, EntryRef},
};

/// Ends the flow of which `key` is either half's key, for good: nothing revives it.
#[inline(always)]
pub fn flow(key: &Tuple) {
    end_flow(key);
}

/// A global function: the verifier checks it by itself.
///
/// The initiator's half first, as the reaper does: by its stamp a packet could revive the flow. A flow that is just being born
/// has only its inbound half yet, which is then dead, and the reaper buries what comes of the birth.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn end_flow(key: *const Tuple) -> u32 {
    // SAFETY: null, or the caller's tuple.
    let Some(key) = (unsafe { key.as_ref() }) else { return 0 };
    let now = clock::now();
    let Some(half) = table::find(key) else { return 0 };
    let pair = table::pair(half, key);
    let is_first = half.seen() & FlowEntry::INITIATOR != 0;
    if is_first {
        condemn(half, key, now);
    }
    if let Some(pair) = pair {
        condemn(pair, &half.pair_key(key), now);
    }
    if !is_first {
        condemn(half, key, now);
    }
    1
}

/// Condemns one half for good, trying again when a packet moves its stamp meanwhile. Three calls instead of a loop: LLVM may lay a
/// loop out in a way that the verifier of Linux 6.1 refuses (`control/reap.rs`, `condemn`).
#[inline(always)]
fn condemn(half: EntryRef, key: &Tuple, now: Stamp) {
    let _ = try_condemn(half, key, now) || try_condemn(half, key, now) || try_condemn(half, key, now);
}

/// `false`: somebody changed the stamp.
#[inline(never)]
fn try_condemn(half: EntryRef, key: &Tuple, now: Stamp) -> bool {
    let last = half.last();
    // Nothing is left to do for a half that is dead for so long that nobody revives it, nor for one whose slot another flow has by
    // now. If that happens after this look, the swap fails: the other flow's stamp is another.
    let is_past = last.is_dead() && last.age(now) >= REVIVE_WINDOW;
    is_past || !half.is_still(key) || half.restamp(last, now.dead_for_good())
}
