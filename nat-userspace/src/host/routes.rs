//! Next hops of the IPv4 routes.

use std::{collections::BTreeSet, net::Ipv4Addr};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

use super::error::Error;
use super::{netlink::Netlink, roster::Neighbour};

/// Gateways of every IPv4 route, whatever its table, that leaves by one of `interfaces` (indexes).
pub(super) async fn gateways(netlink: &Netlink, interfaces: &[u32]) -> Result<BTreeSet<Neighbour>, Error> {
    let mut found = all_gateways(netlink).await?;
    found.retain(|n| interfaces.contains(&n.ifindex));
    Ok(found)
}

/// Gateways of every IPv4 route.
pub(super) async fn all_gateways(netlink: &Netlink) -> Result<BTreeSet<Neighbour>, Error> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    let answers = netlink
        .dump(RouteNetlinkMessage::GetRoute(request))
        .await
        .map_err(Error::netlink("list the routes"))?;
    let mut found = BTreeSet::new();
    for answer in answers {
        let RouteNetlinkMessage::NewRoute(route) = answer else { continue };
        let oif = route.attributes.iter().find_map(|a| match a {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        });
        found.extend(oif.and_then(|index| hop(index, &route.attributes)));
        for attribute in &route.attributes {
            if let RouteAttribute::MultiPath(hops) = attribute {
                found.extend(hops.iter().filter_map(|h| hop(h.interface_index, &h.attributes)));
            }
        }
    }
    Ok(found)
}

fn hop(ifindex: u32, attributes: &[RouteAttribute]) -> Option<Neighbour> {
    let addr: Ipv4Addr = attributes.iter().find_map(|a| match a {
        RouteAttribute::Gateway(RouteAddress::Inet(addr)) => Some(*addr),
        _ => None,
    })?;
    Some(Neighbour { ifindex, addr })
}
