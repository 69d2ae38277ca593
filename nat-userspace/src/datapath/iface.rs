//! What the packet path is told about an interface: from the configuration and from what the host was like before natgw.

use std::net::Ipv4Addr;

use nat_common::hop::{BROADCASTS, Iface, Rpf};
use nat_common::{Addr, Side};

use crate::host::facts::{Address, HostFacts, Link};
use crate::host::sysctls::Before;
use crate::model::gateway::Gateway;

/// All of it but the place in the devmap, which the data plane knows.
pub fn describe(gateway: &Gateway, link: &Link, facts: &HostFacts, before: Before) -> Iface {
    let side = gateway.side_of(&link.name);
    let own = || on(facts, link.index);
    let (inside_addr, outside_addr) = match side {
        Side::INSIDE => (first(own()).or_else(|| first(elsewhere(&gateway.inside, facts))), None),
        Side::OUTSIDE => (None, first(own()).or_else(|| first(elsewhere(&gateway.outside, facts)))),
        _ => {
            let inside = first(own().filter(|a| is_inside(gateway, a)));
            let outside = first(own().filter(|a| !is_inside(gateway, a)));
            (inside.or(outside), outside.or(inside))
        }
    };
    let addr = |a: Option<Ipv4Addr>| a.map(Addr::from).unwrap_or_default();
    Iface {
        side,
        rpf: rpf(gateway.rpf, before.rp_filter) as u8,
        mac: link.mac,
        forwarded: before.forwarded.into(),
        inside_addr: addr(inside_addr),
        outside_addr: addr(outside_addr),
        broadcasts: broadcasts(own()),
        ..Iface::default()
    }
}

/// As configured, but never less than what the kernel checked before natgw relaxed that.
fn rpf(configured: Rpf, rp_filter: u8) -> Rpf {
    let kernel = match rp_filter {
        0 => Rpf::Off,
        1 => Rpf::Strict,
        _ => Rpf::Loose,
    };
    configured.max(kernel)
}

fn on(facts: &HostFacts, index: u32) -> impl Iterator<Item = &Address> {
    facts.addresses.iter().filter(move |a| a.index == index)
}

/// Addresses on interfaces of these names, for one that has none itself (RFC 1812 section 4.3.2.4 asks for an address of
/// the router then).
fn elsewhere<'a>(names: &'a [String], facts: &'a HostFacts) -> impl Iterator<Item = &'a Address> {
    names.iter().filter_map(|n| facts.link(n)).flat_map(|l| on(facts, l.index))
}

fn first<'a>(mut addresses: impl Iterator<Item = &'a Address>) -> Option<Ipv4Addr> {
    addresses.next().map(|a| a.net.addr())
}

fn is_inside(gateway: &Gateway, address: &Address) -> bool {
    gateway.pools.iter().flat_map(|p| &p.sources).any(|s| s.contains(&address.net.addr()))
}

/// Both what was given and what the kernel takes for one by itself: `fib_add_ifaddr` in `net/ipv4/fib_frontend.c`.
fn broadcasts<'a>(addresses: impl Iterator<Item = &'a Address>) -> [Addr; BROADCASTS] {
    let mut found = [Addr::default(); BROADCASTS];
    let mut all: Vec<Ipv4Addr> = Vec::new();
    for address in addresses {
        let computed = (address.net.prefix_len() < 31).then(|| address.net.broadcast());
        for broadcast in address.broadcast.into_iter().chain(computed) {
            if !broadcast.is_broadcast() && !all.contains(&broadcast) {
                all.push(broadcast);
            }
        }
    }
    found.iter_mut().zip(all).for_each(|(slot, broadcast)| *slot = broadcast.into());
    found
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;
    use crate::config::flags::GatewayFlags;

    fn host() -> HostFacts {
        let link = |index, name: &str| Link {
            name: name.into(),
            index,
            mac: [2, 0, 0, 0, 0, index as u8],
            mtu: 1500,
            up: true,
            ..Link::default()
        };
        let address = |index, net: &str| Address { index, net: net.parse().unwrap(), broadcast: None };
        HostFacts {
            links: ["in0", "in1", "out0", "out1", "arm0"].iter().zip(2..).map(|(n, i)| link(i, n)).collect(),
            addresses: vec![
                address(2, "10.0.0.1/24"),
                address(2, "10.0.1.1/24"),
                address(4, "203.0.113.2/28"),
                address(4, "203.0.113.5/32"),
                address(6, "203.0.113.66/26"),
                address(6, "10.9.0.1/16"),
            ],
            memory_available: 1 << 30,
            ..HostFacts::default()
        }
    }

    fn gateway(inside: &str, outside: &str, facts: &HostFacts) -> Gateway {
        let text = format!(
            "[interfaces]\ninside = [{inside}]\noutside = [{outside}]\n\
             [[pool]]\neips = [\"198.51.100.7\"]\nsources = [\"10.0.0.0/8\"]\n"
        );
        let config = Config::parse(Path::new("f"), &text, &GatewayFlags::default()).unwrap();
        config.resolve(facts).unwrap()
    }

    fn described(gateway: &Gateway, name: &str, facts: &HostFacts) -> Iface {
        describe(gateway, facts.link(name).unwrap(), facts, Before::default())
    }

    fn addresses(iface: &Iface) -> (String, String) {
        let text = |a: Addr| Ipv4Addr::from(a).to_string();
        (text(iface.inside_addr), text(iface.outside_addr))
    }

    #[test]
    fn an_interface_answers_from_its_first_address_or_from_another_one_of_its_side() {
        let facts = host();
        let gateway = gateway("\"in0\", \"in1\"", "\"out0\", \"out1\"", &facts);
        for (name, inside, outside) in [
            ("in0", "10.0.0.1", "0.0.0.0"),
            ("in1", "10.0.0.1", "0.0.0.0"),
            ("out0", "0.0.0.0", "203.0.113.2"),
            ("out1", "0.0.0.0", "203.0.113.2"),
        ] {
            assert_eq!(
                addresses(&described(&gateway, name, &facts)),
                (inside.into(), outside.into()),
                "{name}"
            );
        }
        let none = HostFacts { addresses: vec![], ..facts };
        assert_eq!(addresses(&described(&gateway, "in0", &none)).0, "0.0.0.0");
    }

    #[test]
    fn the_one_arm_answers_each_side_from_an_address_of_that_side() {
        let mut facts = host();
        let gateway = gateway("\"arm0\"", "\"arm0\"", &facts);
        let arm = described(&gateway, "arm0", &facts);
        assert_eq!(arm.side, Side::ONEARM);
        assert_eq!(addresses(&arm), ("10.9.0.1".into(), "203.0.113.66".into()));
        facts.addresses.retain(|a| a.net.addr() != Ipv4Addr::new(10, 9, 0, 1));
        let arm = described(&gateway, "arm0", &facts);
        assert_eq!(addresses(&arm), ("203.0.113.66".into(), "203.0.113.66".into()));
    }

    #[test]
    fn broadcasts_are_those_given_and_those_computed_once_each_four_at_most() {
        let mut facts = host();
        let gateway = gateway("\"in0\"", "\"out0\"", &facts);
        let of = |facts: &HostFacts, name| {
            described(&gateway, name, facts).broadcasts.map(|b| Ipv4Addr::from(b).to_string())
        };
        assert_eq!(of(&facts, "in0"), ["10.0.0.255", "10.0.1.255", "0.0.0.0", "0.0.0.0"]);
        assert_eq!(of(&facts, "out0"), ["203.0.113.15", "0.0.0.0", "0.0.0.0", "0.0.0.0"]);
        facts.addresses[0].broadcast = Some([10, 0, 0, 255].into());
        facts.addresses[1].broadcast = Some([10, 0, 1, 0].into());
        for i in 2..6u8 {
            let net = format!("10.0.{i}.1/31").parse().unwrap();
            facts.addresses.push(Address { index: 2, net, broadcast: Some([10, 0, i, 255].into()) });
        }
        assert_eq!(of(&facts, "in0"), ["10.0.0.255", "10.0.1.0", "10.0.1.255", "10.0.2.255"]);
    }

    #[test]
    fn sources_are_checked_as_configured_and_never_less_than_before() {
        for (configured, rp_filter, used) in [
            (Rpf::Strict, 0, Rpf::Strict),
            (Rpf::Strict, 2, Rpf::Strict),
            (Rpf::Loose, 0, Rpf::Loose),
            (Rpf::Loose, 1, Rpf::Strict),
            (Rpf::Loose, 2, Rpf::Loose),
            (Rpf::Off, 0, Rpf::Off),
            (Rpf::Off, 1, Rpf::Strict),
            (Rpf::Off, 2, Rpf::Loose),
        ] {
            assert_eq!(rpf(configured, rp_filter), used, "{configured:?} and rp_filter={rp_filter}");
        }
    }

    #[test]
    fn what_was_forwarded_before_is_known() {
        let facts = host();
        let gateway = gateway("\"in0\"", "\"out0\"", &facts);
        for forwarded in [false, true] {
            let before = Before { rp_filter: 0, forwarded };
            let iface = describe(&gateway, facts.link("out0").unwrap(), &facts, before);
            assert_eq!(iface.forwarded, u8::from(forwarded));
            assert_eq!(iface.mac, [2, 0, 0, 0, 0, 4]);
        }
    }
}
