//! How full the ports of each EIP are, counted from the flows themselves.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use nat_common::eip::ReservedPort;
use nat_common::ports::PortSet;
use nat_common::{Eip, Proto};

/// Flows and distinct ports, by EIP and protocol ([`Proto::index`]).
#[derive(Clone, Debug, Default)]
pub struct PortUsage {
    eips: HashMap<Ipv4Addr, [PerProto; 3]>,
}

#[derive(Clone, Debug, Default)]
struct PerProto {
    flows: u64,
    ports: u64,
    /// One bit a port; empty until the first flow.
    seen: Vec<u64>,
}

impl PortUsage {
    /// One flow that has `port` of `eip`.
    pub fn add(&mut self, eip: Ipv4Addr, proto: Proto, port: u16) {
        let usage = &mut self.eips.entry(eip).or_default()[proto.index()];
        usage.flows += 1;
        if usage.seen.is_empty() {
            usage.seen = vec![0; 65_536 / 64];
        }
        let (word, bit) = (usize::from(port) / 64, 1u64 << (port % 64));
        usage.ports += u64::from(usage.seen[word] & bit == 0);
        usage.seen[word] |= bit;
    }

    /// Flows of an EIP, by protocol.
    pub fn flows(&self, eip: Ipv4Addr) -> [u64; 3] {
        self.of(eip, |u| u.flows)
    }

    /// Distinct ports of an EIP that have a flow, by protocol. A port serves many flows to different remotes.
    pub fn ports(&self, eip: Ipv4Addr) -> [u64; 3] {
        self.of(eip, |u| u.ports)
    }

    fn of(&self, eip: Ipv4Addr, field: impl Fn(&PerProto) -> u64) -> [u64; 3] {
        self.eips.get(&eip).map_or([0; 3], |protos| [&protos[0], &protos[1], &protos[2]].map(field))
    }
}

/// Ports that flows may take of an EIP, by protocol ([`Proto::index`]): all that `eip` has, less those that `reserved` names
/// (keys of the map `RESERVED`: bits that count, and ports).
pub fn claimable(eip: &Eip, reserved: &[(u32, ReservedPort)]) -> [u32; 3] {
    Proto::ALL.map(|proto| {
        let mine = reserved.iter().filter(|(_, r)| r.addr == eip.addr && r.proto == proto as u8);
        let taken: u32 =
            mine.map(|(bits, r)| shared(&eip.ports, r.port.host(), ReservedPort::BITS - bits)).sum();
        eip.ports.count.saturating_sub(taken)
    })
}

/// How many of the `1 << bits` ports from `first` on are in `ports`.
fn shared(ports: &PortSet, first: u16, bits: u32) -> u32 {
    let block = u32::from(first)..u32::from(first) + (1 << bits.min(16));
    let common =
        |part: std::ops::Range<u32>| block.end.min(part.end).saturating_sub(block.start.max(part.start));
    let after = ports.first + ports.below + ports.hole;
    common(ports.first..ports.first + ports.below) + common(after..after + ports.count - ports.below)
}

#[cfg(test)]
mod tests {
    use nat_common::{Addr, Port};

    use super::*;

    #[test]
    fn a_port_counts_once_however_many_flows_it_has() {
        let eip = Ipv4Addr::new(203, 0, 113, 10);
        let mut usage = PortUsage::default();
        for (proto, port) in [(Proto::Tcp, 1024), (Proto::Tcp, 1024), (Proto::Tcp, 65535), (Proto::Udp, 1024)]
        {
            usage.add(eip, proto, port);
        }
        assert_eq!(usage.flows(eip), [3, 1, 0]);
        assert_eq!(usage.ports(eip), [2, 1, 0]);
        assert_eq!(usage.ports(Ipv4Addr::new(203, 0, 113, 11)), [0; 3]);
    }

    #[test]
    fn reserved_ports_are_no_capacity() {
        let addr = Addr::from_octets([203, 0, 113, 10]);
        let key = |proto: Proto, port, ports: u32| {
            let port = ReservedPort { addr, proto: proto as u8, spare: 0, port: Port::new(port) };
            (ReservedPort::BITS - ports.ilog2(), port)
        };
        let eip =
            |hole| Eip { addr, ports: PortSet::new(1024, 65_535, hole).expect("some"), ..Eip::default() };
        // Below the range, in it, and across its start.
        let reserved = [key(Proto::Tcp, 80, 1), key(Proto::Tcp, 5000, 8), key(Proto::Udp, 0, 2048)];
        assert_eq!(claimable(&eip(None), &reserved), [64_512 - 8, 64_512 - 1024, 64_512]);
        // What the host keeps is not counted twice.
        let shared = eip(Some((32_768, 60_999)));
        let reserved = [key(Proto::Tcp, 40_000, 8), key(Proto::Icmp, 60_992, 16)];
        assert_eq!(claimable(&shared, &reserved), [36_280, 36_280, 36_280 - 8]);
        let other = Eip { addr: Addr::from_octets([203, 0, 113, 11]), ..shared };
        assert_eq!(claimable(&other, &reserved), [36_280; 3]);
    }
}
