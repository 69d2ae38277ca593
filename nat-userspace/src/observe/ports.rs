//! How full the ports of each EIP are, counted from the flows themselves.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use nat_common::Proto;

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

#[cfg(test)]
mod tests {
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
}
