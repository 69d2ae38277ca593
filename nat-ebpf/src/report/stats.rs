//! Counting. Each CPU has counters of its own, so that a plain addition does.

use nat_common::stats::{Meter, Stats};

use crate::maps;

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
    count(|s| {
        if let Some(drops) = s.drops.get_mut(reason) {
            *drops += 1;
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

/// Counts a packet received from clients or destinations that went no further.
#[inline(always)]
pub fn received(meter: Meter, bytes: u64) {
    count(|s| {
        s.packets[meter as usize] += 1;
        s.bytes[meter as usize] += bytes;
    });
}

/// Hops that this CPU has resolved.
#[inline(always)]
pub fn hops_resolved() -> u64 {
    maps::stats().map_or(0, |stats| stats.hops_resolved)
}
