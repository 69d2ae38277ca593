//! Port ranges, and ports that flows never get.

use std::fmt;

use nat_common::Proto;

/// `FIRST-LAST`, both inclusive; never empty, never port 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

impl Ports {
    /// What a pool has when nobody says otherwise: all but the well-known ports, as AWS NAT gateways use.
    pub const DEFAULT: Self = Self { first: 1024, last: u16::MAX };
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

/// `PROTO/PORT` or `PROTO/FIRST-LAST`; of ICMP, the identifier stands for the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedPorts {
    /// Protocol.
    pub proto: Proto,
    /// Ports.
    pub ports: Ports,
}

impl fmt::Display for ReservedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ports { first, last } = self.ports;
        if first == last {
            write!(f, "{}/{first}", self.proto.name())
        } else {
            write!(f, "{}/{first}-{last}", self.proto.name())
        }
    }
}

/// Ports whose number begins with the same bits: what one key of an LPM trie stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The first port.
    pub first: u16,
    /// Bits that all have in common, from the left; 16 for a single port.
    pub bits: u8,
}

/// The fewest blocks that are together `first..=last`, ascending.
pub fn blocks(first: u16, last: u16) -> Vec<Block> {
    let (mut next, end) = (u32::from(first), u32::from(last) + 1);
    let mut all = Vec::new();
    while next < end {
        // A block begins at a multiple of its size, and ends where the range does at the latest.
        let aligned = if next == 0 { 16 } else { next.trailing_zeros() };
        let size = aligned.min((end - next).ilog2());
        all.push(Block { first: next as u16, bits: 16 - size as u8 });
        next += 1 << size;
    }
    all
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_that_are_easy_to_check_by_hand() {
        let of = |first, last| blocks(first, last).iter().map(|b| (b.first, b.bits)).collect::<Vec<_>>();
        assert_eq!(of(4789, 4789), [(4789, 16)]);
        assert_eq!(of(0, 65535), [(0, 0)]);
        assert_eq!(of(1, 65535).len(), 16);
        assert_eq!(of(5000, 5007), [(5000, 13)]);
        assert_eq!(of(5001, 5008), [(5001, 16), (5002, 15), (5004, 14), (5008, 16)]);
        assert_eq!(of(9, 8), []);
    }

    proptest! {
        /// The blocks are exactly the range, each port in one of them, and a block's ports share its bits.
        #[test]
        fn blocks_are_the_range(a in any::<u16>(), b in any::<u16>(), probe in any::<u16>()) {
            let (first, last) = (a.min(b), a.max(b));
            let blocks = blocks(first, last);
            prop_assert!(blocks.len() <= 30);
            let mut next = u32::from(first);
            for Block { first, bits } in &blocks {
                let size = 1u32 << (16 - bits);
                prop_assert_eq!(u32::from(*first), next);
                prop_assert_eq!(u32::from(*first) % size, 0);
                next += size;
            }
            prop_assert_eq!(next, u32::from(last) + 1);
            // As the trie matches.
            let matches = |b: &&Block| b.bits == 0 || (b.first ^ probe) >> (16 - b.bits) == 0;
            let found = blocks.iter().filter(matches).count();
            prop_assert_eq!(found, usize::from((first..=last).contains(&probe)));
        }
    }
}
