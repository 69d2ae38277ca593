//! EIPs that are the address of an interface, whatever it is (`eips = ["eth0"]`): DHCP and PPP give it one, and another.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nat_common::Addr;

use super::error::Error;
use super::value::EipSpec;
use super::written::{Config, PoolConfig};
use crate::host::facts::{Address, HostFacts, Link};
use crate::model::gateway::{Gateway, SizedBy};
use crate::model::path::Device;

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
                    device: Device::default(),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::flags::GatewayFlags;
    use crate::config::render::to_toml;

    const FILE: &str = "[interfaces]\ninside = [\"eth1\"]\noutside = [\"eth0\"]\n[[pool]]\nsources = [\"10.0.0.0/8\"]\n\
                        eips = [\"eth0\", \"203.0.113.10\"]\n";

    fn config(text: &str) -> Config {
        Config::parse(Path::new("natgw.toml"), text, &GatewayFlags::default()).unwrap()
    }

    /// eth0 has these addresses.
    fn host(addresses: &[&str]) -> HostFacts {
        let link = |index, name: &str| Link {
            name: name.into(),
            index,
            mac: [0; 6],
            mtu: 1500,
            up: true,
            device: Device::default(),
        };
        let address = |net: &&str| Address { index: 1, net: net.parse().unwrap(), broadcast: None };
        HostFacts {
            links: vec![link(1, "eth0"), link(2, "eth1")],
            addresses: addresses.iter().map(address).collect(),
            ephemeral: (32768, 60999),
            memory_available: 1 << 30,
            ..HostFacts::default()
        }
    }

    fn eips(gateway: &Gateway) -> Vec<String> {
        gateway.pools[0].eips.iter().map(|e| e.addr.to_string()).collect()
    }

    #[test]
    fn it_is_the_first_address_and_check_says_which() {
        let host = host(&["169.254.0.5/16", "203.0.113.2/24", "203.0.113.3/24"]);
        let gateway = config(FILE).resolve(&host).unwrap();
        assert_eq!(eips(&gateway), ["203.0.113.2", "203.0.113.10"]);
        assert_eq!(gateway.pools[0].eips[0].host_ports, Some((32768, 60999)), "it is shared");
        let printed = to_toml(&gateway);
        assert!(printed.contains(r#"eips = ["eth0", "203.0.113.10"]"#), "{printed}");
        assert!(printed.contains("# 203.0.113.2 is shared: it is the address of eth0 now"), "{printed}");
        assert_eq!(config(&printed).resolve(&host).unwrap(), gateway, "{printed}");
    }

    #[test]
    fn without_an_address_there_is_no_eip_and_check_says_so() {
        let only = FILE.replace(", \"203.0.113.10\"", "");
        let gateway = config(&only).resolve(&host(&[])).unwrap();
        assert_eq!((eips(&gateway).len(), gateway.followed()), (0, vec![("eth0", None)]));
        let printed = to_toml(&gateway);
        assert!(printed.contains("# eth0 has no IPv4 address now"), "{printed}");
        assert_eq!(config(&printed).resolve(&host(&[])).unwrap(), gateway, "{printed}");
    }

    #[test]
    fn a_running_gateway_keeps_the_eip_until_there_is_another_address() {
        let config = config(FILE);
        let running = config.resolve(&host(&["203.0.113.2/24"])).unwrap();
        let again = |host: HostFacts| config.resolve_again(host, &running).unwrap();
        assert_eq!(again(host(&[])), running);
        assert_eq!(again(HostFacts { links: vec![], ..host(&[]) }), running, "the interface is gone");
        assert_eq!(eips(&again(host(&["198.51.100.7/24"]))), ["198.51.100.7", "203.0.113.10"]);
    }

    #[test]
    fn what_cannot_be_followed_is_refused_naming_it() {
        let refusal = |eips: &str, host: &HostFacts| {
            let text = FILE.replace("\"eth0\", \"203.0.113.10\"", eips);
            config(&text).resolve(host).expect_err(eips).to_string()
        };
        let usual = host(&["203.0.113.2/24"]);
        assert!(refusal("\"eth9\"", &usual).contains("interface \"eth9\" does not exist"));
        assert!(refusal("\"eth0\", \"eth0\"", &usual).contains("already"));
        assert!(refusal("\"eth0\", \"203.0.113.2\"", &usual).contains("already in pool"));
        let inside = refusal("\"eth0\"", &host(&["10.1.2.3/24"]));
        assert!(inside.contains("10.1.2.3 lies in the inside prefix"), "{inside}");
    }
}
