//! The gateway's keyed hash.

use nat_common::hash::siphash13;

use crate::maps;

/// SipHash-1-3 of two words under the gateway's secret.
#[inline(always)]
pub fn keyed(a: u64, b: u64) -> u64 {
    secret_keyed(a, b)
}

/// Out of line: a hash needs many registers, and its frame is gone again before the caller goes on.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn secret_keyed(a: u64, b: u64) -> u64 {
    maps::settings().map_or(0, |settings| siphash13(settings.secret, a, b))
}
