//! Counting. Each CPU has counters of its own, so that a plain addition does.

use nat_common::stats::{Meter, Stats};

use crate::{frame::Wire, maps};

/// Applies `f` to this CPU's counters.
#[inline(always)]
pub fn count(f: impl FnOnce(&mut Stats)) {
    if let Some(stats) = maps::stats() {
        f(stats);
    }
}

/// Counts a drop by the index of its reason.
#[inline(always)]
pub fn dropped(reason: usize) {
    dropped_packets(reason, 1);
}

/// Counts a drop of so many packets.
#[inline(always)]
pub fn dropped_packets(reason: usize, packets: u64) {
    count(|s| {
        if let Some(drops) = s.drops.get_mut(reason) {
            *drops += packets;
        }
    });
}

/// Counts a frame that is left to the kernel by the index of its reason.
#[inline(always)]
pub fn passed(reason: usize) {
    count(|s| {
        if let Some(passes) = s.passes.get_mut(reason) {
            *passes += 1;
        }
    });
}

/// Counts what was received from clients or destinations that went no further.
#[inline(always)]
pub fn received(meter: Meter, wire: Wire) {
    count(|s| {
        s.packets[meter as usize] += wire.packets;
        s.bytes[meter as usize] += wire.bytes;
    });
}

/// Hops that this CPU has resolved.
#[inline(always)]
pub fn hops_resolved() -> u64 {
    maps::stats().map_or(0, |stats| stats.hops_resolved)
}
