//! NH (Black et al., UMAC, 1999; RFC 4418), a keyed hash of a few words: where an entry stands in the flow table, which EIP a
//! client has, where a next hop stands. Each of the three has a key of its own.
//!
//! It is no pseudorandom function: what it names must not be visible to those who choose what is hashed.

use bytemuck::{Pod, Zeroable};

use crate::num::scale;
use crate::tuple::{Addr, Tuple};

/// A key, drawn when the data plane is created.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct HashKey {
    /// One for each word of a tuple.
    pub words: [u32; 4],
    /// Odd.
    pub multiplier: u64,
}

impl HashKey {
    /// The home of a key, below `homes`.
    #[inline(always)]
    pub fn home(&self, key: &Tuple, homes: u32) -> u32 {
        self.home_of(key.addresses(), key.rest_at(0), homes)
    }

    /// The same for the two words of a key, [`Tuple::addresses`] and [`Tuple::rest_at`] 0.
    #[inline(always)]
    pub const fn home_of(&self, addresses: u64, rest: u64, homes: u32) -> u32 {
        let [a, b, c, d] = self.words;
        let nh = product((addresses as u32).wrapping_add(a), ((addresses >> 32) as u32).wrapping_add(b))
            .wrapping_add(product((rest as u32).wrapping_add(c), ((rest >> 32) as u32).wrapping_add(d)));
        let mixed = (nh ^ nh >> 32).wrapping_mul(self.multiplier);
        scale((mixed >> 32) as u32, homes)
    }

    /// One of `count` things for a client, always the same one; 0 when there are none.
    #[inline(always)]
    pub const fn choose(&self, client: Addr, count: u32) -> u32 {
        let [a, b, ..] = self.words;
        // The halves are keyed apart, or neighbours would all be a multiple of one number away from each other.
        let mixed = (product(client.be.wrapping_add(a), (client.be >> 16).wrapping_add(b))
            ^ client.be as u64)
            .wrapping_mul(self.multiplier);
        scale((mixed >> 32) as u32, count)
    }

    /// The first of `slots` that a next hop may stand in.
    #[inline(always)]
    pub const fn slot(&self, ifindex: u32, next_hop: Addr, slots: u32) -> u32 {
        let [a, b, c, d] = self.words;
        let nh = product(next_hop.be.wrapping_add(a), ifindex.wrapping_add(b)).wrapping_add(product(
            (next_hop.be >> 16).wrapping_add(c),
            next_hop.be.rotate_left(16).wrapping_add(d),
        ));
        let mixed = (nh ^ nh >> 32).wrapping_mul(self.multiplier);
        scale((mixed >> 32) as u32, slots)
    }
}

#[inline(always)]
const fn product(a: u32, b: u32) -> u64 {
    a as u64 * b as u64
}

crate::map_value!(HashKey);

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::tuple::Port;

    pub(crate) const KEY: HashKey = HashKey {
        words: [0x0123_4567, 0x89ab_cdef, 0xdead_beef, 0x1234_5678],
        multiplier: 0x9e37_79b9_7f4a_7c15,
    };

    pub(crate) fn tuple(host: u32, sport: u16, dst: u32) -> Tuple {
        Tuple {
            src: Addr { be: (0x0a00_0000 + host).to_be() },
            dst: Addr { be: (0xc633_6400 + dst).to_be() },
            sport: Port::new(sport),
            dport: Port::new(443),
            proto: 6,
            ..Tuple::default()
        }
    }

    #[test]
    fn every_field_of_the_key_and_the_secret_matter() {
        let home = |t: &Tuple| KEY.home(t, 1 << 31);
        let t = tuple(1, 1000, 1);
        for other in [
            tuple(2, 1000, 1),
            tuple(1, 1001, 1),
            tuple(1, 1000, 2),
            Tuple { dport: Port::new(80), ..t },
            Tuple { proto: 17, ..t },
            Tuple { side: 1, ..t },
        ] {
            assert_ne!(home(&t), home(&other), "{other:?}");
        }
        assert_eq!(home(&t), home(&Tuple { state: 2, ..t }), "the state is no part of the key");
        let other = HashKey { words: [1, 2, 3, 4], ..KEY };
        assert_ne!(home(&t), other.home(&t, 1 << 31));
    }

    /// Sequential addresses, as clients have them, under any key.
    #[test]
    fn clients_are_spread_evenly_over_eips() {
        let mut state = 0x0123_4567_89ab_cdef_u64;
        let mut draw = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            (state >> 32) as u32
        };
        for _ in 0..200 {
            let key = HashKey {
                words: [draw(), draw(), draw(), draw()],
                multiplier: u64::from(draw()) << 32 | u64::from(draw()) | 1,
            };
            for count in [2u32, 3, 8] {
                let mut clients = [0u32; 8];
                for n in 0..4096u32 {
                    let client = Addr { be: (0x0a00_0000 + n).to_be() };
                    let choice = key.choose(client, count);
                    assert!(choice < count);
                    clients[choice as usize] += 1;
                }
                let fair = 4096 / count;
                for have in &clients[..count as usize] {
                    assert!((fair * 3 / 4..=fair * 5 / 4).contains(have), "{key:?} {count}: {clients:?}");
                }
            }
        }
        assert_eq!(KEY.choose(Addr { be: 7 }, 0), 0);
    }
}
