//! Counting. Everything is per CPU and plain.

use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use nat_common::{
    Reason,
    stats::{Meter, Stats},
};

use crate::maps;

/// Applies `f` to this CPU's counters.
#[inline(always)]
pub fn count(f: impl FnOnce(&mut Stats)) {
    if let Some(stats) = maps::stats() {
        f(stats);
    }
}

/// Counts a drop; the XDP action for it.
#[inline(always)]
pub fn drop(reason: Reason) -> u32 {
    count(|s| s.drops[reason as usize] += 1);
    XDP_DROP
}

/// Counts a packet that is none of natgw's business, or that the kernel must answer; the XDP action for it.
#[inline(always)]
pub fn pass() -> u32 {
    count(|s| s.passed += 1);
    XDP_PASS
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
