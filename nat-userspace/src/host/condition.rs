//! What of the host decides whether a gateway's packets get through, as it is at this moment.

use std::{
    io,
    net::{IpAddr, Ipv4Addr},
};

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteMessage},
};

use super::error::Error;
use super::netfilter::{self, Firewall};
use super::{addresses, netlink::Netlink, routes};

/// A host on the internet, for asking the kernel by which route it would send there: nothing is sent. (a.root-servers.net.)
const SOMEWHERE: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);

/// EIPs that are asked for: enough to notice.
const EIPS: usize = 64;

/// The host's condition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Indexes of the interfaces that are up and have a carrier.
    pub running: Vec<u32>,
    /// By which interface a packet to the internet leaves, by its source.
    pub ways: Vec<(Ipv4Addr, Option<u32>)>,
    /// Indexes of the interfaces that some route with a gateway leaves by; read only when there is no way at all.
    pub routed: Vec<u32>,
    /// A chain that drops what the kernel forwards, unless a rule says otherwise.
    pub forward_drop: Option<String>,
    /// A chain that does NAT in the kernel.
    pub nat: Option<String>,
}

impl Condition {
    /// Reads it in the network namespace of the calling thread, for packets from `eips`.
    pub async fn read(eips: &[Ipv4Addr]) -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let running = running(&netlink).await?;
        let ways = ways(&netlink, eips).await?;
        let routed = if ways.iter().any(|(_, way)| way.is_some()) {
            Vec::new()
        } else {
            routes::all_gateways(&netlink).await?.into_iter().map(|n| n.ifindex).collect()
        };
        // A host without nf_tables has no such chain.
        let Firewall { forward_drop, nat } = netfilter::read().unwrap_or_default();
        Ok(Self { running, ways, routed, forward_drop, nat })
    }
}

async fn running(netlink: &Netlink) -> Result<Vec<u32>, Error> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = netlink.dump(request).await.map_err(Error::netlink("list the interfaces"))?;
    let wanted = LinkFlags::Up | LinkFlags::LowerUp;
    Ok(answers
        .iter()
        .filter_map(|a| match a {
            RouteNetlinkMessage::NewLink(m) if m.header.flags.contains(wanted) => Some(m.header.index),
            _ => None,
        })
        .collect())
}

/// By which interface packets from each of `eips` leave for the internet. The kernel looks up routes only for sources that the
/// host has, and an EIP need not be one of its addresses: then the route of any other source counts.
async fn ways(netlink: &Netlink, eips: &[Ipv4Addr]) -> Result<Vec<(Ipv4Addr, Option<u32>)>, Error> {
    let failed = || Error::netlink("look up the route to the internet");
    let mut ways = Vec::new();
    for eip in eips.iter().take(EIPS) {
        ways.push((*eip, route(netlink, Some(*eip)).await.map_err(failed())?));
    }
    if ways.iter().any(|(_, way)| way.is_none()) {
        let own = addresses::dump(netlink).await?;
        let any = route(netlink, None).await.map_err(failed())?;
        for (eip, way) in ways.iter_mut().filter(|(_, way)| way.is_none()) {
            *way = any.filter(|_| !own.iter().any(|a| a.address.net.addr() == *eip));
        }
    }
    Ok(ways)
}

async fn route(netlink: &Netlink, source: Option<Ipv4Addr>) -> io::Result<Option<u32>> {
    let mut request = RouteMessage::default();
    request.header.address_family = AddressFamily::Inet;
    request.header.destination_prefix_length = 32;
    let inet = |addr: Ipv4Addr| RouteAddress::from(IpAddr::V4(addr));
    request.attributes.push(RouteAttribute::Destination(inet(SOMEWHERE)));
    if let Some(source) = source {
        request.header.source_prefix_length = 32;
        request.attributes.push(RouteAttribute::Source(inet(source)));
    }
    match netlink.get(RouteNetlinkMessage::GetRoute(request)).await {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(route.attributes.iter().find_map(|a| match a {
            RouteAttribute::Oif(index) => Some(*index),
            _ => None,
        })),
        Ok(_) => Ok(None),
        // None, one that refuses, or none from a source that the host has not.
        Err(e)
            if matches!(
                e.raw_os_error(),
                Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL)
            ) =>
        {
            Ok(None)
        }
        Err(e) => Err(e),
    }
}
