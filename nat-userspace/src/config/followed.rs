//! EIPs that are the address of an interface, whatever it is (`eips = ["eth0"]`): DHCP and PPP give it one, and another.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nat_common::Addr;

use super::error::Error;
use super::value::EipSpec;
use super::written::{Config, PoolConfig};
use crate::host::facts::{Address, HostFacts, Link};
use crate::model::gateway::{Gateway, SizedBy};

impl Config {
    /// Whether the address of some interface is an EIP.
    pub fn follows(&self) -> bool {
        self.pools.iter().any(|p| !p.follows().is_empty())
    }

    /// Interfaces whose address is an EIP, and the address. One that does not exist is refused: it may be a typing error.
    pub(super) fn followed(&self, facts: &HostFacts) -> Result<Vec<(String, Option<Ipv4Addr>)>, Error> {
        let mut followed = Vec::new();
        for spec in self.pools.iter().flat_map(|p| &p.eips) {
            let EipSpec::Of(name) = &spec.value else { continue };
            if facts.link(name).is_none() {
                return Err(Error::UnknownInterface { at: spec.at.clone(), name: name.clone() });
            }
            if followed.iter().any(|(n, _)| n == name) {
                return Err(Error::FollowedTwice { at: spec.at.clone(), name: name.clone() });
            }
            followed.push((name.clone(), address(name, facts)));
        }
        Ok(followed)
    }

    /// What the configuration means now that addresses of the host have changed, for a gateway that runs as `current`: an
    /// interface that has no address keeps the EIP that it had, and with it the flows, which go on should the same address
    /// come back. `facts` need no routes and no memory.
    pub fn resolve_again(&self, mut facts: HostFacts, current: &Gateway) -> Result<Gateway, Error> {
        facts.memory_available = u64::MAX;
        // Interfaces that are gone are waited for; nothing of the running gateway is to be refused for them.
        let followed = current.followed();
        for name in current.interfaces().into_iter().chain(followed.iter().map(|(name, _)| *name)) {
            if facts.link(name).is_none() {
                facts.links.push(Link {
                    name: name.to_owned(),
                    // No interface has it, and each of these is another one.
                    index: u32::MAX - facts.links.len() as u32,
                    mac: [0; 6],
                    mtu: 0,
                    up: false,
                    ethernet: true,
                });
            }
        }
        keep(&mut facts, current);
        let mut wanted = self.resolve(&facts)?;
        if wanted.max_flows_by == SizedBy::Memory {
            wanted.max_flows = current.max_flows;
        }
        Ok(wanted)
    }
}

/// Lets an interface that has no address have the EIP that it has in `current`.
pub fn keep(facts: &mut HostFacts, current: &Gateway) {
    for (name, had) in current.followed() {
        let (Some(addr), Some(index)) = (had, facts.link(name).map(|l| l.index)) else { continue };
        if address(name, facts).is_none() {
            facts.addresses.push(Address { index, net: Ipv4Net::from(addr), broadcast: None });
        }
    }
}

impl PoolConfig {
    /// Interfaces whose address is an EIP of the pool.
    pub(super) fn follows(&self) -> Vec<String> {
        let name = |spec: &EipSpec| match spec {
            EipSpec::Of(name) => Some(name.clone()),
            EipSpec::Range(_) => None,
        };
        self.eips.iter().filter_map(|s| name(&s.value)).collect()
    }
}

/// The addresses that are meant.
pub(super) fn addresses(spec: &EipSpec, facts: &HostFacts) -> Vec<Ipv4Addr> {
    match spec {
        EipSpec::Range(range) => range.addresses().collect(),
        EipSpec::Of(name) => address(name, facts).into_iter().collect(),
    }
}

/// The first one of an interface that packets may come from: the kernel lists primary addresses first, in the order in which
/// they were added.
fn address(name: &str, facts: &HostFacts) -> Option<Ipv4Addr> {
    let index = facts.link(name)?.index;
    let mut mine = facts.addresses.iter().filter(|a| a.index == index).map(|a| a.net.addr());
    mine.find(|a| !Addr::from(*a).is_never_translated())
}
