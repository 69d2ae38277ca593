//! Now, as flow entries keep it.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use nat_common::Stamp;

/// The coarse monotonic clock: one load in the kernel, a few milliseconds of granularity, no TSC read.
#[inline(always)]
pub fn now() -> Stamp {
    Stamp::from_ns(nanoseconds())
}

/// The same clock in nanoseconds.
#[inline(always)]
pub fn nanoseconds() -> u64 {
    // SAFETY: the helper takes no arguments.
    unsafe { bpf_ktime_get_coarse_ns() }
}
