//! MTUs that IPv4 routes carry (`mtu` of `ip route`), as one answer for each destination.
//!
//! The packet path asks by destination only and takes the longest prefix. Policy rules may send two packets to one
//! destination by two tables; then the smaller MTU holds for both: a packet too small is never lost.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nat_common::eip::MAX_ROUTE_MTUS;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteMetric},
    rule::{RuleAttribute, RuleMessage},
};

use super::error::Error;
use super::netlink::Netlink;

/// Routing tables by number, `RT_TABLE_*` in include/uapi/linux/rtnetlink.h.
const DEFAULT: u32 = 253;
const MAIN: u32 = 254;
const LOCAL: u32 = 255;

/// A route, as far as its MTU is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Table.
    pub table: u32,
    /// Destination.
    pub net: Ipv4Net,
    /// `mtu`, locked or not; 0 for none.
    pub mtu: u32,
}

/// What [`route_mtus`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteMtus {
    /// MTU by destination, for a lookup by the longest prefix; 0: none holds there.
    pub mtus: BTreeMap<Ipv4Net, u32>,
    /// Prefixes without an MTU for which there was no room: the MTU of the network around them holds for them.
    pub left_out: usize,
    /// Prefixes with an MTU for which there was no room: only the MTU of the network around them, if any, holds for them.
    pub ignored: usize,
}

/// Reads the routes of every table that forwarded packets may use.
pub async fn read() -> Result<RouteMtus, Error> {
    let netlink = Netlink::open()?;
    let tables = tables(&netlink).await?;
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let mut routes = Vec::new();
    netlink
        .dump_each(RouteNetlinkMessage::GetRoute(request), |answer| {
            if let RouteNetlinkMessage::NewRoute(message) = answer {
                routes.extend(parse(&message).filter(|r| tables.contains(r.table)));
            }
        })
        .await
        .map_err(Error::netlink("list the routes"))?;
    Ok(limited(route_mtus(&routes), MAX_ROUTE_MTUS as usize))
}

/// The tables that packets may be routed by.
enum Tables {
    /// Those that rules name. Main and default are always among them.
    Named(BTreeSet<u32>),
    /// A VRF's table is named by its device (rule `l3mdev`). A table too many makes an MTU too small at worst.
    AllButLocal,
}

impl Tables {
    fn contains(&self, table: u32) -> bool {
        match self {
            Self::Named(tables) => tables.contains(&table),
            Self::AllButLocal => table != LOCAL,
        }
    }
}

async fn tables(netlink: &Netlink) -> Result<Tables, Error> {
    let mut request = RuleMessage::default();
    request.header.family = AddressFamily::Inet;
    let rules = match netlink.dump(RouteNetlinkMessage::GetRule(request)).await {
        // A kernel without policy routing.
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Vec::new(),
        result => result.map_err(Error::netlink("list the routing rules"))?,
    };
    let mut tables = BTreeSet::from([MAIN, DEFAULT]);
    for rule in rules {
        let RouteNetlinkMessage::NewRule(rule) = rule else { continue };
        let mut table = u32::from(rule.header.table);
        for attribute in &rule.attributes {
            match attribute {
                RuleAttribute::L3MDev(true) => return Ok(Tables::AllButLocal),
                RuleAttribute::Table(number) => table = *number,
                _ => {}
            }
        }
        tables.insert(table);
    }
    tables.remove(&LOCAL);
    Ok(Tables::Named(tables))
}

/// `None` for an exception, which the kernel lists among the routes: those come from ICMP errors that anybody can send,
/// and the kernel does not forward by them (`ip_forward_use_pmtu`).
fn parse(message: &RouteMessage) -> Option<Route> {
    if message.header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let mut destination = Ipv4Addr::UNSPECIFIED;
    let (mut table, mut mtu) = (u32::from(message.header.table), 0);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(RouteAddress::Inet(addr)) => destination = *addr,
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Metrics(metrics) => {
                let found = metrics.iter().find_map(|m| match m {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
                mtu = found.unwrap_or(mtu);
            }
            _ => {}
        }
    }
    let net = Ipv4Net::new(destination, message.header.destination_prefix_length).ok()?.trunc();
    Some(Route { table, net, mtu })
}

/// The smallest MTU that the routes to each destination have, in any table. Only prefixes for which the answer is another
/// one than for the network around them, so nothing when no route has an MTU.
pub fn route_mtus(routes: &[Route]) -> BTreeMap<Ipv4Net, u32> {
    // A table without any MTU has no say.
    let numbers: BTreeSet<u32> = routes.iter().filter(|r| r.mtu > 0).map(|r| r.table).collect();
    let index: BTreeMap<u32, usize> = numbers.into_iter().zip(0..).collect();
    let mut prefixes: Vec<(Ipv4Net, usize, u32)> =
        routes.iter().filter_map(|r| Some((r.net, *index.get(&r.table)?, r.mtu))).collect();
    // A network comes before the networks in it.
    prefixes.sort_unstable_by_key(|(net, table, _)| (net.network(), net.prefix_len(), *table));

    let mut found = BTreeMap::new();
    // Networks around the one that is looked at, the innermost last: what holds there in each table, and of all.
    let mut around: Vec<(Ipv4Net, Vec<u32>, u32)> = Vec::new();
    for group in prefixes.chunk_by(|a, b| a.0 == b.0) {
        let net = group[0].0;
        while around.last().is_some_and(|(outer, ..)| !outer.contains(&net)) {
            around.pop();
        }
        let (mut in_table, outer) = match around.last() {
            Some((_, in_table, mtu)) => (in_table.clone(), *mtu),
            None => (vec![0; index.len()], 0),
        };
        for routes in group.chunk_by(|a, b| a.1 == b.1) {
            // Routes of one prefix, by metric or TOS.
            in_table[routes[0].1] = smallest(routes.iter().map(|r| r.2));
        }
        let mtu = smallest(in_table.iter().copied());
        if mtu != outer {
            found.insert(net, mtu);
        }
        around.push((net, in_table, mtu));
    }
    found
}

/// The smallest that is not 0; 0 if all are.
fn smallest(mtus: impl Iterator<Item = u32>) -> u32 {
    mtus.filter(|m| *m > 0).min().unwrap_or(0)
}

/// As many as there is room for. What has no MTU is left out first: a packet too small is never lost. Of a kind, the
/// largest networks stay.
fn limited(mtus: BTreeMap<Ipv4Net, u32>, room: usize) -> RouteMtus {
    if mtus.len() <= room {
        return RouteMtus { mtus, ..RouteMtus::default() };
    }
    let mut all: Vec<(Ipv4Net, u32)> = mtus.into_iter().collect();
    all.sort_by_key(|(net, mtu)| (*mtu == 0, net.prefix_len()));
    let rest = all.split_off(room);
    let left_out = rest.iter().filter(|(_, mtu)| *mtu == 0).count();
    RouteMtus { mtus: all.into_iter().collect(), left_out, ignored: rest.len() - left_out }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(texts: &[(u32, &str, u32)]) -> Vec<Route> {
        texts.iter().map(|&(table, net, mtu)| Route { table, net: net.parse().unwrap(), mtu }).collect()
    }

    fn of(texts: &[(u32, &str, u32)]) -> Vec<(String, u32)> {
        route_mtus(&routes(texts)).into_iter().map(|(net, mtu)| (net.to_string(), mtu)).collect()
    }

    fn expect(texts: &[(&str, u32)]) -> Vec<(String, u32)> {
        texts.iter().map(|&(net, mtu)| (net.to_owned(), mtu)).collect()
    }

    #[test]
    fn routes_without_an_mtu_stand_only_where_one_with_an_mtu_is_around_them() {
        assert_eq!(of(&[(MAIN, "0.0.0.0/0", 0), (MAIN, "10.0.0.0/8", 0)]), []);
        assert_eq!(
            of(&[
                (MAIN, "0.0.0.0/0", 0),
                (MAIN, "10.0.0.0/8", 1400),
                (MAIN, "10.1.0.0/16", 0),
                (MAIN, "10.1.2.0/24", 0),
                (MAIN, "10.2.0.0/16", 1400),
                (MAIN, "10.3.0.0/16", 1300),
                (MAIN, "11.0.0.0/8", 0),
            ]),
            expect(&[("10.0.0.0/8", 1400), ("10.1.0.0/16", 0), ("10.3.0.0/16", 1300)])
        );
        assert_eq!(
            of(&[(MAIN, "0.0.0.0/0", 1400), (MAIN, "198.51.100.0/24", 0)]),
            expect(&[("0.0.0.0/0", 1400), ("198.51.100.0/24", 0)])
        );
    }

    #[test]
    fn of_routes_that_disagree_the_smaller_mtu_holds() {
        // By metric or TOS.
        assert_eq!(
            of(&[(MAIN, "10.0.0.0/8", 1400), (MAIN, "10.0.0.0/8", 1300), (MAIN, "10.0.0.0/8", 0)]),
            expect(&[("10.0.0.0/8", 1300)])
        );
        // By table, also where the other table's prefix is another one: who comes by table 7 has 1300 to all of 10/8.
        assert_eq!(
            of(&[
                (7, "10.0.0.0/8", 1300),
                (MAIN, "10.1.0.0/16", 0),
                (MAIN, "10.2.0.0/16", 1400),
                (MAIN, "10.3.0.0/16", 1200),
            ]),
            expect(&[("10.0.0.0/8", 1300), ("10.3.0.0/16", 1200)])
        );
    }

    #[test]
    fn what_has_no_room_makes_packets_too_small_rather_than_too_large() {
        let mut all =
            routes(&[(MAIN, "0.0.0.0/0", 1400), (MAIN, "10.0.0.0/8", 0), (MAIN, "11.1.1.0/24", 1300)]);
        all.extend((0..10u8).map(|i| Route {
            table: MAIN,
            net: Ipv4Net::from(Ipv4Addr::from([12, 0, 0, 2 * i])),
            mtu: 0,
        }));
        let found = limited(route_mtus(&all), 3);
        assert_eq!((found.left_out, found.ignored), (10, 0));
        let kept: Vec<_> = found.mtus.iter().map(|(net, mtu)| (net.to_string(), *mtu)).collect();
        assert_eq!(kept, expect(&[("0.0.0.0/0", 1400), ("10.0.0.0/8", 0), ("11.1.1.0/24", 1300)]));
        let found = limited(route_mtus(&all), 1);
        assert_eq!((found.mtus.len(), found.left_out, found.ignored), (1, 11, 1));
    }

    fn longest(nets: impl Iterator<Item = (Ipv4Net, u32)>, addr: Ipv4Addr) -> u32 {
        let around = nets.filter(|(net, _)| net.contains(&addr));
        let longest = around.max_by_key(|(net, mtu)| (net.prefix_len(), std::cmp::Reverse(*mtu)));
        longest.map_or(0, |(_, mtu)| mtu)
    }

    proptest! {
        /// As asking each table by itself, and taking the smallest answer; no prefix says what the one around it says.
        #[test]
        fn an_answer_is_the_smallest_of_all_tables(
            table in proptest::collection::vec((0u32..3, any::<u8>(), 24u8..=32, 0u32..4), 0..24),
            probes in proptest::collection::vec(any::<u8>(), 16),
        ) {
            let mut seen = BTreeSet::new();
            let routes: Vec<Route> = table
                .into_iter()
                .map(|(table, host, len, mtu)| {
                    let net = Ipv4Net::new([10, 0, 0, host].into(), len).unwrap().trunc();
                    Route { table, net, mtu: mtu * 500 }
                })
                .filter(|r| seen.insert((r.table, r.net)))
                .collect();
            let mtus = route_mtus(&routes);
            for probe in probes {
                let addr = Ipv4Addr::from([10, 0, 0, probe]);
                let asked = (0..3).map(|t| {
                    longest(routes.iter().filter(|r| r.table == t).map(|r| (r.net, r.mtu)), addr)
                });
                let found = longest(mtus.iter().map(|(n, m)| (*n, *m)), addr);
                prop_assert_eq!(found, smallest(asked));
            }
            for (net, mtu) in &mtus {
                let outer = mtus.iter().filter(|(n, _)| *n != net && n.contains(net));
                let outer = longest(outer.map(|(n, m)| (*n, *m)), net.addr());
                prop_assert_ne!(outer, *mtu);
            }
        }
    }
}
