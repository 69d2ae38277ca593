//! SipHash-1-3 with a per-gateway secret: the random bits that port walks are keyed by.
//!
//! RFC 6056 section 3.3.3 wants the offset to be a keyed function that an observer of some ports cannot
//! extend to others; `SipHash` is a PRF for exactly such short inputs (Aumasson and Bernstein, 2012).

use bytemuck::{Pod, Zeroable};

/// A 128-bit key, drawn when the data plane is created and kept across restarts that adopt it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Secret {
    /// First half.
    pub k0: u64,
    /// Second half.
    pub k1: u64,
}

#[inline(always)]
const fn round(v: [u64; 4]) -> [u64; 4] {
    let [mut v0, mut v1, mut v2, mut v3] = v;
    v0 = v0.wrapping_add(v1);
    v1 = v1.rotate_left(13) ^ v0;
    v0 = v0.rotate_left(32);
    v2 = v2.wrapping_add(v3);
    v3 = v3.rotate_left(16) ^ v2;
    v0 = v0.wrapping_add(v3);
    v3 = v3.rotate_left(21) ^ v0;
    v2 = v2.wrapping_add(v1);
    v1 = v1.rotate_left(17) ^ v2;
    v2 = v2.rotate_left(32);
    [v0, v1, v2, v3]
}

/// SipHash-1-3 of the 16 bytes that `a` and `b` are in little-endian order.
#[inline(always)]
pub const fn siphash13(secret: Secret, a: u64, b: u64) -> u64 {
    let mut v = [
        secret.k0 ^ 0x736f_6d65_7073_6575,
        secret.k1 ^ 0x646f_7261_6e64_6f6d,
        secret.k0 ^ 0x6c79_6765_6e65_7261,
        secret.k1 ^ 0x7465_6462_7974_6573,
    ];
    let length = 16u64 << 56;
    v[3] ^= a;
    v = round(v);
    v[0] ^= a;
    v[3] ^= b;
    v = round(v);
    v[0] ^= b;
    v[3] ^= length;
    v = round(v);
    v[0] ^= length;
    v[2] ^= 0xff;
    v = round(round(round(v)));
    v[0] ^ v[1] ^ v[2] ^ v[3]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// std's `DefaultHasher::new()` is SipHash-1-3 with an all-zero key.
    #[test]
    fn equals_the_reference() {
        for (a, b) in [(0u64, 0u64), (1, 2), (u64::MAX, 0x0123_4567_89ab_cdef)] {
            let mut h = std::collections::hash_map::DefaultHasher::new();
            h.write_u64(a);
            h.write_u64(b);
            assert_eq!(siphash13(Secret::default(), a, b), h.finish());
        }
    }

    #[test]
    fn the_key_matters() {
        let s = Secret { k0: 1, k1: 2 };
        assert_ne!(siphash13(s, 1, 2), siphash13(Secret { k0: 1, k1: 3 }, 1, 2));
        assert_ne!(siphash13(s, 1, 2), siphash13(Secret { k0: 2, k1: 2 }, 1, 2));
    }
}
