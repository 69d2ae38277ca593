//! The destinations with the most flows, in bounded memory (Misra and Gries, 1982).

use std::collections::HashMap;
use std::net::SocketAddrV4;

use nat_common::{Addr, Port, Proto};

use crate::observe::metrics::DestinationUsage;

/// Counters. A destination's count is at most `flows / COUNTERS` too low: 61 for a million flows.
const COUNTERS: usize = 16_384;

/// Below this many flows a destination is not worth a word.
const WORTH_REPORTING: u32 = 100;

/// EIP, protocol, remote address, remote port.
pub(super) type Key = (Addr, Proto, Addr, Port);

/// Counts flows by destination.
#[derive(Default)]
pub(super) struct Heavy {
    counts: HashMap<Key, u32>,
}

impl Heavy {
    /// One more flow.
    pub(super) fn add(&mut self, key: Key) {
        if let Some(count) = self.counts.get_mut(&key) {
            *count += 1;
        } else if self.counts.len() < COUNTERS {
            self.counts.insert(key, 1);
        } else {
            self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            });
        }
    }

    /// The destinations that use most of the ports of an EIP, of which `ports` tells the number.
    pub(super) fn top(self, limit: usize, ports: impl Fn(Addr) -> u32) -> Vec<DestinationUsage> {
        let mut all: Vec<DestinationUsage> = self
            .counts
            .into_iter()
            .filter(|(_, count)| *count >= WORTH_REPORTING)
            .filter_map(|((eip, proto, remote, port), count)| {
                let capacity = ports(eip);
                (capacity > 0).then(|| DestinationUsage {
                    eip: eip.into(),
                    proto,
                    remote: SocketAddrV4::new(remote.into(), port.host()),
                    ratio: (f64::from(count) / f64::from(capacity)).min(1.0),
                })
            })
            .collect();
        all.sort_by(|a, b| b.ratio.total_cmp(&a.ratio).then_with(|| a.remote.cmp(&b.remote)));
        all.truncate(limit);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_survive_a_crowd() {
        let eip = Addr::from_octets([203, 0, 113, 10]);
        let heavy_one = (eip, Proto::Tcp, Addr::from_octets([198, 51, 100, 7]), Port::new(443));
        let mut heavy = Heavy::default();
        for i in 0..200_000u32 {
            heavy.add((eip, Proto::Tcp, Addr { be: i }, Port::new(80)));
            if i % 10 == 0 {
                heavy.add(heavy_one);
            }
        }
        let top = heavy.top(3, |_| 40_000);
        assert_eq!(top.len(), 1);
        assert_eq!(top[0].remote.to_string(), "198.51.100.7:443");
        assert!((0.49..=0.5).contains(&top[0].ratio), "{}", top[0].ratio);
    }

    #[test]
    fn an_eip_that_is_gone_is_left_out() {
        let key = (Addr { be: 1 }, Proto::Udp, Addr { be: 2 }, Port::new(53));
        let mut heavy = Heavy::default();
        (0..WORTH_REPORTING).for_each(|_| heavy.add(key));
        assert!(heavy.top(3, |_| 0).is_empty());
    }
}
