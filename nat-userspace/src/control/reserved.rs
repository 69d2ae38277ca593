//! Ports of an EIP that flows never get: those of kernel listeners without a socket, or of other software.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use nat_common::Proto;
use nat_common::eip::MAX_RESERVED;
use nat_common::ports::PortSet;

use super::config::Config;
use super::error::Error;
use super::origin::Sourced;
use super::value::ReservedPorts;

impl Config {
    /// The reserved ports of each EIP that has some, and where they are written.
    pub(super) fn reserved(
        &self,
        eips: &[Ipv4Addr],
    ) -> Result<BTreeMap<Ipv4Addr, Sourced<Vec<ReservedPorts>>>, Error> {
        let mut all = BTreeMap::new();
        let mut count = 0;
        for (Sourced { value: eip, at }, ports) in &self.reserved {
            let at = at.clone();
            if !eips.contains(eip) {
                return Err(Error::ReservedNoEip { at, eip: *eip });
            }
            let ports = merge(ports.clone());
            count += ports.iter().map(|p| blocks(p.ports.first, p.ports.last).len()).sum::<usize>();
            if count > MAX_RESERVED as usize {
                return Err(Error::TooManyReserved { at, count });
            }
            all.insert(*eip, Sourced { value: ports, at });
        }
        Ok(all)
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

/// Ranges in order, those that touch or overlap as one.
pub(super) fn merge(mut ranges: Vec<ReservedPorts>) -> Vec<ReservedPorts> {
    ranges.sort_by_key(|r| (r.proto.index(), r.ports.first, r.ports.last));
    let mut merged: Vec<ReservedPorts> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last)
                if last.proto == range.proto
                    && u32::from(range.ports.first) <= u32::from(last.ports.last) + 1 =>
            {
                last.ports.last = last.ports.last.max(range.ports.last);
            }
            _ => merged.push(range),
        }
    }
    merged
}

/// A protocol for which none of `ports` is left.
pub(super) fn exhausted(ports: &PortSet, reserved: &[ReservedPorts]) -> Option<Proto> {
    let is_reserved = |proto: Proto, port: u16| {
        reserved.iter().any(|r| r.proto == proto && (r.ports.first..=r.ports.last).contains(&port))
    };
    let all = |proto| (0..ports.count).filter_map(|i| ports.port(i)).all(|p| is_reserved(proto, p.host()));
    Proto::ALL.into_iter().filter(|p| reserved.iter().any(|r| r.proto == *p)).find(|p| all(*p))
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

    #[test]
    fn what_touches_or_overlaps_is_one_range_and_protocols_stay_apart() {
        let read = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("valid")).collect::<Vec<_>>();
        assert_eq!(
            merge(read(&["udp/9", "tcp/20-30", "tcp/5-10", "tcp/11", "tcp/25-27", "udp/65535"])),
            read(&["tcp/5-11", "tcp/20-30", "udp/9", "udp/65535"])
        );
    }

    #[test]
    fn an_eip_runs_out_protocol_by_protocol() {
        let ports = PortSet::new(1000, 2000, Some((1200, 1900))).expect("some");
        let of = |texts: &[&str]| {
            exhausted(&ports, &texts.iter().map(|t| t.parse().expect("valid")).collect::<Vec<_>>())
        };
        assert_eq!(of(&["udp/1000-2000"]), Some(Proto::Udp));
        assert_eq!(of(&["tcp/1000-1199", "tcp/1901-2000"]), Some(Proto::Tcp), "the hole is no port");
        assert_eq!(of(&["tcp/1000-1199", "udp/1901-2000", "icmp/1001-2000"]), None);
        assert_eq!(of(&[]), None);
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
