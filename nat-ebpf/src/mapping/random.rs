//! What nobody outside may foretell: the random bits that walks over ports are keyed by.

use aya_ebpf::helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_coarse_ns};
use nat_common::hash::siphash13;

use crate::{maps, work::port::Random};

/// SipHash-1-3 of two words under the gateway's secret, of which this is the only use: whoever asks it for something else
/// gives both their own domain, or one could be told by the other.
///
/// Out of line: a hash needs many registers, and its frame is gone again before the caller goes on.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn random_keyed(a: u64, b: u64) -> u64 {
    maps::settings().map_or(0, |settings| siphash13(settings.secret, a, b))
}

impl Random {
    /// Random bits. Whoever uses them calls [`Self::next`] once there is time for it.
    #[inline(always)]
    pub fn bits(&mut self) -> u32 {
        if self.ahead == 0 {
            self.draw();
        }
        self.ahead as u32
    }

    /// Turns to the next random bits.
    #[inline(always)]
    pub fn next(&mut self) {
        self.ahead >>= 32;
        if self.ahead == 0 {
            self.draw();
        }
    }

    /// Draws random bits: `SipHash` in counter mode. Each CPU has a stream of its own, and the count starts at the
    /// clock, so that a gateway that keeps its secret over a restart does not start again.
    #[inline(always)]
    fn draw(&mut self) {
        // SAFETY: the helpers take no arguments.
        let (now, cpu) = unsafe { (bpf_ktime_get_coarse_ns(), bpf_get_smp_processor_id()) };
        if self.count == 0 {
            self.count = now;
        }
        self.count += 1;
        self.ahead = random_keyed(self.count, u64::from(cpu));
    }
}
