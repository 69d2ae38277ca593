//! Now, as flow entries keep it.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;
use nat_common::Stamp;

/// The coarse monotonic clock: one load in the kernel, a few milliseconds of granularity, no TSC read.
#[inline(always)]
pub fn now() -> Stamp {
    // SAFETY: the helper takes no arguments.
    Stamp::from_ns(unsafe { bpf_ktime_get_coarse_ns() })
}
