//! Ports of an EIP that flows never get: those of kernel listeners without a socket, or of other software.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use nat_common::Proto;
use nat_common::eip::MAX_RESERVED;
use nat_common::ports::PortSet;

use super::error::Error;
use super::origin::Sourced;
use super::written::Config;
use crate::model::ports::{ReservedPorts, blocks};

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
    use super::*;

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
}
