//! Which inside prefixes a pool serves when its configuration does not say.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::host::facts::HostFacts;

/// RFC 1918 and RFC 6598: what inside networks use.
const PRIVATE: [Ipv4Net; 4] = [
    Ipv4Net::new_assert(Ipv4Addr::new(10, 0, 0, 0), 8),
    Ipv4Net::new_assert(Ipv4Addr::new(172, 16, 0, 0), 12),
    Ipv4Net::new_assert(Ipv4Addr::new(192, 168, 0, 0), 16),
    Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// The interfaces on each side, by name.
pub(super) struct Sides<'a> {
    pub(super) inside: &'a [String],
    pub(super) outside: &'a [String],
}

impl Sides<'_> {
    fn is_both(&self, name: &str) -> bool {
        self.inside.iter().any(|i| i == name) && self.outside.iter().any(|o| o == name)
    }
}

/// Connected prefixes of the inside interfaces, and every private range that is not used outside.
///
/// An interface that is inside only is taken at its word, even when its prefix contains an EIP (which is
/// then refused, naming it); one that is both sides at once has its EIPs' networks left out.
pub(super) fn default_sources(facts: &HostFacts, sides: &Sides<'_>, eips: &[Ipv4Addr]) -> Vec<Ipv4Net> {
    let has_eip = |net: &Ipv4Net| eips.iter().any(|e| net.contains(e));
    let mut found: Vec<Ipv4Net> = Vec::new();
    for name in sides.inside {
        let mut nets = connected(facts, name);
        nets.retain(|n| !sides.is_both(name) || !has_eip(n));
        found.append(&mut nets);
    }
    let outside: Vec<Ipv4Net> =
        sides.outside.iter().filter(|o| !sides.is_both(o)).flat_map(|o| connected(facts, o)).collect();
    found.extend(PRIVATE.into_iter().filter(|p| !has_eip(p) && !outside.iter().any(|o| overlap(*p, *o))));
    aggregate(found)
}

/// Whether two prefixes share an address.
pub(super) fn overlap(a: Ipv4Net, b: Ipv4Net) -> bool {
    a.contains(&b) || b.contains(&a)
}

/// Drops prefixes that another one contains. Keeps the order of the rest.
pub(super) fn aggregate(nets: Vec<Ipv4Net>) -> Vec<Ipv4Net> {
    let mut kept: Vec<Ipv4Net> = Vec::new();
    for net in nets {
        if !kept.iter().any(|k| k.contains(&net)) {
            kept.retain(|k| !net.contains(k));
            kept.push(net);
        }
    }
    kept
}

/// Networks on an interface. Host addresses (/32) connect to nobody.
pub(super) fn connected(facts: &HostFacts, name: &str) -> Vec<Ipv4Net> {
    let Some(link) = facts.link(name) else { return Vec::new() };
    let mine = facts.addresses.iter().filter(|a| a.index == link.index && a.net.prefix_len() < 32);
    mine.map(|a| a.net.trunc()).filter(|n| !n.network().is_link_local()).collect()
}
