//! What nobody outside may foretell: the random bits that port walks are keyed by.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns};
use nat_common::hash::siphash13;

use crate::{maps, work};

/// Random bits of one CPU, one draw ahead of who needs them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Stream {
    /// Draws so far, counted from the time of the first.
    count: u64,
    /// The next bits, 32 at a time; 0 when they are not drawn yet.
    ahead: u64,
}

/// SipHash-1-3 of two words under the gateway's secret, of which this is the only use: whoever asks it for something else
/// gives both their own domain, or one could be told by the other.
///
/// Out of line: a hash needs many registers, and its frame is gone again before the caller goes on.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn secret_keyed(a: u64, b: u64) -> u64 {
    maps::settings().map_or(0, |settings| siphash13(settings.secret, a, b))
}

/// Random bits. Whoever uses them calls [`next`], once there is time for it.
#[inline(always)]
pub fn random() -> u32 {
    let Some(stream) = work::stream() else { return 0 };
    if stream.ahead == 0 {
        draw(stream);
    }
    stream.ahead as u32
}

/// Turns to the next random bits.
#[inline(always)]
pub fn next() {
    let Some(stream) = work::stream() else { return };
    stream.ahead >>= 32;
    if stream.ahead == 0 {
        draw(stream);
    }
}

/// Draws random bits: `SipHash` in counter mode. Each CPU has a stream of its own, and the count starts at the
/// clock, so that a gateway that keeps its secret over a restart does not start again.
#[inline(always)]
fn draw(stream: &mut Stream) {
    // SAFETY: the helpers take no arguments.
    let (now, cpu) = unsafe { (bpf_ktime_get_coarse_ns(), bpf_get_smp_processor_id()) };
    if stream.count == 0 {
        stream.count = now;
    }
    stream.count += 1;
    stream.ahead = secret_keyed(stream.count, u64::from(cpu));
}
