//! The order in which ports of an EIP are tried.
//!
//! A +1 walk clusters and is predictable. Here the n usable ports are positions 0..n of a residue ring
//! of prime size p >= n, walked with an unpredictable start and stride. Any stride is coprime to a prime,
//! so p steps visit every position exactly once; the few positions in n..p (one, for 64,512 ports) are
//! skipped.

use bytemuck::{Pod, Zeroable};

use crate::num::scale;
use crate::tuple::Port;

/// The usable ports of an EIP: `first..=last` with one hole (the host's ephemeral range).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct PortSet {
    /// First port, host order.
    pub first: u32,
    /// How many usable ports lie below the hole.
    pub below: u32,
    /// Size of the hole; 0 for none.
    pub hole: u32,
    /// Usable ports in all; 0 means none.
    pub count: u32,
    /// Smallest prime that is at least `count`.
    pub prime: u32,
}

impl PortSet {
    /// The ports `first..=last` without those in `hole` (both inclusive, host order). `None` if none remain.
    pub fn new(first: u16, last: u16, hole: Option<(u16, u16)>) -> Option<Self> {
        let (first, last) = (u32::from(first), u32::from(last));
        if first == 0 || last < first {
            return None;
        }
        let clipped =
            hole.map(|(a, b)| (u32::from(a).max(first), u32::from(b).min(last))).filter(|(a, b)| a <= b);
        let (below, hole) = clipped.map_or((last - first + 1, 0), |(a, b)| (a - first, b - a + 1));
        let count = last - first + 1 - hole;
        (count > 0).then(|| Self { first, below, hole, count, prime: next_prime(count) })
    }

    /// The port at a position of the ring; `None` for a position that stands for no port.
    #[inline(always)]
    pub const fn port(&self, position: u32) -> Option<Port> {
        if position >= self.count {
            return None;
        }
        let skip = if position >= self.below { self.hole } else { 0 };
        Some(Port::new((self.first + position + skip) as u16))
    }

    /// Whether a port is one of them.
    #[inline(always)]
    pub const fn contains(&self, port: Port) -> bool {
        let above = (port.host() as u32).wrapping_sub(self.first);
        above < self.below || above.wrapping_sub(self.below + self.hole) < self.count - self.below
    }
}

/// A walk over all positions of a ring of prime size.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Walk {
    /// Next position to try, below `prime`.
    pub position: u32,
    /// Distance between positions, in `1..prime`.
    pub stride: u32,
}

impl Walk {
    /// A walk keyed by 32 pseudo-random bits, over a ring of `prime` > 0 positions.
    #[inline(always)]
    pub const fn keyed(bits: u32, prime: u32) -> Self {
        // The lower bits, which the position does not tell.
        let stride = if prime > 2 { 1 + scale(bits.wrapping_mul(0x9e37_79b1), prime - 1) } else { 1 };
        Self { position: scale(bits, prime), stride }
    }

    /// The position to try now; moves on to the next.
    #[inline(always)]
    pub const fn step(&mut self, prime: u32) -> u32 {
        let now = self.position;
        let next = now + self.stride;
        self.position = if next >= prime { next - prime } else { next };
        now
    }
}

fn next_prime(n: u32) -> u32 {
    let is_prime = |c: u32| (2..256).take_while(|d| d * d <= c).all(|d| !c.is_multiple_of(d));
    // n is at most 65,535 and the next prime, 65,537, is below 256² + 2; its divisors would be below 256.
    (n.max(2)..=65_537).find(|&c| is_prime(c)).unwrap_or(65_537)
}

crate::map_value!(PortSet, Walk);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all_ports(set: &PortSet) -> Vec<u16> {
        let mut ports: Vec<u16> = (0..set.prime).filter_map(|p| set.port(p)).map(Port::host).collect();
        ports.sort_unstable();
        ports
    }

    #[test]
    fn default_range() {
        let set = PortSet::new(1024, 65535, None).unwrap();
        assert_eq!((set.count, set.prime), (64_512, 64_513));
        assert_eq!(all_ports(&set), (1024..=65535).collect::<Vec<u16>>());
    }

    #[test]
    fn shared_with_the_host_ephemeral_range() {
        let set = PortSet::new(1024, 65535, Some((32_768, 60_999))).unwrap();
        assert_eq!(set.count, 36_280);
        let want: Vec<u16> = (1024..=65535).filter(|p| !(32_768..=60_999).contains(p)).collect();
        assert_eq!(all_ports(&set), want);
    }

    #[test]
    fn contains_what_a_walk_visits() {
        for hole in [None, Some((32_768, 60_999)), Some((1, 2000)), Some((60_000, 65_535))] {
            let set = PortSet::new(1024, 65_000, hole).unwrap();
            let within: Vec<u16> = (0..=u16::MAX).filter(|p| set.contains(Port::new(*p))).collect();
            assert_eq!(within, all_ports(&set), "{hole:?}");
        }
    }

    #[test]
    fn edges() {
        assert_eq!(PortSet::new(1024, 1023, None), None);
        assert_eq!(PortSet::new(0, 10, None), None, "port 0 is reserved");
        assert_eq!(PortSet::new(2000, 3000, Some((1000, 4000))), None, "the hole swallows all");
        assert_eq!(all_ports(&PortSet::new(5, 5, None).unwrap()), [5]);
        assert_eq!(all_ports(&PortSet::new(5, 9, Some((5, 6))).unwrap()), [7, 8, 9]);
        assert_eq!(all_ports(&PortSet::new(5, 9, Some((8, 100))).unwrap()), [5, 6, 7]);
        assert_eq!(all_ports(&PortSet::new(5, 9, Some((100, 200))).unwrap()), [5, 6, 7, 8, 9]);
    }

    proptest! {
        /// Every port exactly once, whatever the range, the hole and the key.
        #[test]
        fn a_walk_visits_every_port_exactly_once(
            a in 1u16.., b in 1u16.., hole in proptest::option::of((1u16.., 1u16..)), bits: u32,
        ) {
            let Some(set) = PortSet::new(a.min(b), a.max(b), hole.map(|(x, y)| (x.min(y), x.max(y)))) else {
                return Ok(());
            };
            let mut walk = Walk::keyed(bits, set.prime);
            let mut visited = vec![false; 65_536];
            let mut ports = 0;
            for _ in 0..set.prime {
                if let Some(port) = set.port(walk.step(set.prime)) {
                    prop_assert!(!std::mem::replace(&mut visited[usize::from(port.host())], true));
                    prop_assert!((a.min(b)..=a.max(b)).contains(&port.host()));
                    ports += 1;
                }
            }
            prop_assert_eq!(ports, set.count);
            prop_assert!(set.prime < set.count.max(2) * 2);
        }
    }
}
