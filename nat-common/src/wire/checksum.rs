//! Incremental Internet checksums (RFC 1071, RFC 1624).
//!
//! One's complement addition does not care about byte order (RFC 1071 section 2(B)), so everything here
//! works on 16-bit words *as loaded from memory*, without a single swap. A [`Delta`] is the sum
//! `~old + new` over all words that change; equation 3 of RFC 1624, `HC' = ~(~HC + ~m + m')`, then needs
//! one addition per packet however many words changed.

/// The accumulated change of a checksum, unfolded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Delta(u32);

impl Delta {
    /// Nothing changes.
    #[inline(always)]
    pub const fn new() -> Self {
        Self(0)
    }

    /// A 16-bit word, as loaded from the packet, changes from `old` to `new`.
    #[must_use]
    #[inline(always)]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0 + (!old) as u32 + new as u32)
    }

    /// A 32-bit field, as loaded from the packet, changes from `old` to `new`.
    #[must_use]
    #[inline(always)]
    pub const fn dword(self, old: u32, new: u32) -> Self {
        self.word(old as u16, new as u16).word((old >> 16) as u16, (new >> 16) as u16)
    }

    /// The 16-bit form that is kept in a flow entry. At most 16 words may have been added.
    #[inline(always)]
    pub const fn fold(self) -> u16 {
        let once = (self.0 & 0xffff) + (self.0 >> 16);
        ((once & 0xffff) + (once >> 16)) as u16
    }
}

/// What decrementing the TTL does to the header checksum: the TTL is the first byte of its word in
/// memory, so `~old + new` is `0xffff - 0x0100` in wire order.
pub const TTL_DECREMENT: u16 = u16::from_be(0xfeff);

/// What takes [`TTL_DECREMENT`] back: for a packet whose TTL the kernel decrements later.
pub const TTL_INCREMENT: u16 = u16::from_be(0x0100);

/// RFC 1624 equation 3: the checksum after a change, given the folded [`Delta`].
///
/// Two folded 16-bit values sum to at most 0x1fffe, so one fold is enough.
#[inline(always)]
pub const fn apply(checksum: u16, delta: u16) -> u16 {
    let sum = (!checksum) as u32 + delta as u32;
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

/// [`apply`] for UDP: 0 means "no checksum" and stays 0; a computed 0 is sent as 0xffff (RFC 768).
#[inline(always)]
pub const fn apply_udp(checksum: u16, delta: u16) -> u16 {
    if checksum == 0 {
        return 0;
    }
    match apply(checksum, delta) {
        0 => 0xffff,
        c => c,
    }
}

/// Full checksum over bytes, as it would be stored in memory. For tests and cold paths.
pub fn full(bytes: &[u8]) -> u16 {
    let mut sum = 0u64;
    for pair in bytes.chunks(2) {
        let word = [pair[0], pair.get(1).copied().unwrap_or(0)];
        sum += u64::from(u16::from_ne_bytes(word));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The worked example of RFC 1624 section 4: 0xdd2f with 0x5555 -> 0x3285 gives 0x0000, where the
    /// older equation 4 gives 0xffff.
    #[test]
    fn rfc1624_example() {
        assert_eq!(apply(0xdd2f, Delta::new().word(0x5555, 0x3285).fold()), 0x0000);
    }

    #[test]
    fn udp_zero() {
        assert_eq!(apply_udp(0, Delta::new().word(1, 2).fold()), 0);
        assert_eq!(apply_udp(0xdd2f, Delta::new().word(0x5555, 0x3285).fold()), 0xffff);
    }

    fn header(mut bytes: Vec<u8>) -> Vec<u8> {
        // A checksum over all-zero words is outside RFC 1624's claim (and outside IP: version is 4).
        bytes[0] = 0x45;
        bytes[10..12].fill(0);
        let c = full(&bytes);
        bytes[10..12].copy_from_slice(&c.to_ne_bytes());
        bytes
    }

    proptest! {
        /// Addresses, ports and TTL at once: incremental equals full recomputation, bit for bit.
        #[test]
        fn incremental_equals_full(
            bytes in proptest::collection::vec(any::<u8>(), 24..=24),
            src: u32, dst: u32, ports: u32, ttl in 1u8..=255,
        ) {
            let mut old = bytes;
            old[8] = ttl;
            let old = header(old);
            let mut new = old.clone();
            let load = |b: &[u8], at: usize| u32::from_ne_bytes(b[at..at + 4].try_into().unwrap());
            let delta = Delta::new()
                .dword(load(&old, 12), src).dword(load(&old, 16), dst).dword(load(&old, 20), ports);
            new[12..16].copy_from_slice(&src.to_ne_bytes());
            new[16..20].copy_from_slice(&dst.to_ne_bytes());
            new[20..24].copy_from_slice(&ports.to_ne_bytes());
            new[8] -= 1;
            let before = u16::from_ne_bytes(old[10..12].try_into().unwrap());
            let want = |bytes: &[u8]| u16::from_ne_bytes(header(bytes.to_vec())[10..12].try_into().unwrap());
            let after = apply(before, delta.word(!0, TTL_DECREMENT).fold());
            prop_assert_eq!(after, want(&new));
            new[8] += 1;
            prop_assert_eq!(apply(after, TTL_INCREMENT), want(&new));
        }

        /// There and back again: a flow's two deltas cancel out.
        #[test]
        fn reverse_delta_restores(checksum in 1u16.., a: u32, b: u32) {
            let there = Delta::new().dword(a, b).fold();
            let back = Delta::new().dword(b, a).fold();
            let restored = apply(apply(checksum, there), back);
            prop_assert!(restored == checksum || (restored == 0 && checksum == 0xffff) || (restored == 0xffff && checksum == 0));
        }

        #[test]
        fn worst_case_delta_folds(words in proptest::collection::vec((any::<u16>(), any::<u16>()), 0..=16)) {
            let mut d = Delta::new();
            let mut wide = 0u64;
            for (o, n) in words {
                d = d.word(o, n);
                wide += u64::from(!o) + u64::from(n);
            }
            while wide > 0xffff { wide = (wide & 0xffff) + (wide >> 16); }
            prop_assert_eq!(u64::from(d.fold()), wide);
        }
    }
}
