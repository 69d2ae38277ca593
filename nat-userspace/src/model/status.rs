//! A gateway at this moment: what `natgw status --json` prints. The fields and their names are the JSON interface.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::fault::Fault;
use super::interface::Interface;

/// What `natgw status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    /// Packets are being translated.
    pub up: bool,
    /// The daemon's process, `None` when it is not running.
    pub pid: Option<u32>,
    /// When it started, in seconds since the epoch.
    pub started: Option<u64>,
    /// Version that runs.
    pub version: Option<String>,
    /// The data plane stays when the daemon stops.
    pub persist: bool,
    /// Whether it is in the network namespace of this process.
    pub in_this_namespace: bool,
    /// Managed interfaces.
    pub interfaces: Vec<InterfaceStatus>,
    /// Elastic IPs.
    pub eips: Vec<Ipv4Addr>,
    /// Of EIPs that belong to one outside interface, its name.
    pub eip_links: BTreeMap<Ipv4Addr, String>,
    /// Flows now, and room for them.
    pub flows: FlowCounts,
    /// Traffic now.
    pub rates: Rates,
    /// What is wrong, the gravest first; empty when all is well.
    pub faults: Vec<Fault>,
}

/// A managed interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceStatus {
    /// What the daemon recorded.
    #[serde(flatten)]
    pub recorded: Interface,
    /// Whether it is there.
    pub present: bool,
    /// Whether XDP is attached to it.
    pub attached: bool,
}

impl InterfaceStatus {
    /// `attached`: the interfaces that have XDP; `exists` tells whether one is there.
    pub(crate) fn new(
        mut recorded: Interface,
        attached: &[String],
        exists: impl Fn(&Interface) -> bool,
    ) -> Self {
        let attached = attached.contains(&recorded.name);
        let present = attached || exists(&recorded);
        // The record may be that of a daemon that is dead, and was not told.
        recorded.missing = !present;
        Self { recorded, present, attached }
    }
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Packets from inside to outside.
    pub packets_out: f64,
    /// Packets from outside to inside.
    pub packets_in: f64,
    /// Bytes from inside to outside.
    pub bytes_out: f64,
    /// Bytes from outside to inside.
    pub bytes_in: f64,
    /// Flows born.
    pub new_flows: f64,
    /// Packets dropped.
    pub drops: f64,
}

/// Flows in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct FlowCounts {
    /// TCP.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
    /// ICMP queries.
    pub icmp: u64,
    /// Room.
    pub capacity: u64,
}

impl FlowCounts {
    /// Flows of all protocols.
    pub const fn total(&self) -> u64 {
        self.tcp + self.udp + self.icmp
    }
}

#[cfg(test)]
impl Status {
    /// A gateway without a fault.
    pub(crate) fn healthy() -> Self {
        use super::interface::{InterfaceSide, XdpMode};

        let recorded = Interface {
            name: "eth0".to_owned(),
            ifindex: 2,
            side: InterfaceSide::Outside,
            xdp_mode: XdpMode::Native,
            missing: false,
        };
        Self {
            up: true,
            pid: Some(7),
            started: Some(0),
            version: Some("0.1.0".to_owned()),
            persist: false,
            in_this_namespace: true,
            interfaces: vec![InterfaceStatus { recorded, present: true, attached: true }],
            eips: vec![Ipv4Addr::new(203, 0, 113, 10)],
            eip_links: BTreeMap::new(),
            flows: FlowCounts { tcp: 1, udp: 2, icmp: 0, capacity: 1000 },
            rates: Rates::default(),
            faults: Vec::new(),
        }
    }
}
