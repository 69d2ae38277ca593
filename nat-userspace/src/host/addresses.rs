//! EIPs on the outside interfaces, so that the kernel answers ARP for them.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use rtnetlink::{
    AddressMessageBuilder,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage, AddressProtocol},
    },
};

use super::error::Error;
use super::{
    garp,
    links::{self, Link},
    netlink::{Netlink, PROTOCOL},
    state::{AddedAddress, StateDir},
};

/// An address on an interface: `net.addr()` is the address, `net.trunc()` the connected prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub index: u32,
    /// Address and prefix length.
    pub net: Ipv4Net,
    /// Broadcast address that was given to it; the kernel takes the last one of `net` for one in any case.
    pub broadcast: Option<Ipv4Addr>,
}

/// An address of the host.
pub(super) struct Found {
    pub(super) address: Address,
    /// natgw added it.
    pub(super) ours: bool,
}

/// Adds each EIP that the host does not have, as /32, to the outside interface that it belongs to; where none is named, to the one
/// whose connected prefix contains it, else to the first one; records it, and announces it by ARP. An EIP that the host has already, on any
/// interface, is shared: it is not touched, now or later. Returns the addresses that are natgw's.
pub async fn add_eips(
    eips: &[(Ipv4Addr, Option<&str>)],
    outside: &[&str],
    state: &StateDir,
) -> Result<Vec<AddedAddress>, Error> {
    let netlink = Netlink::open()?;
    let links = links::dump(&netlink).await?;
    let found = dump(&netlink).await?;
    let mut outside_links = Vec::new();
    for name in outside {
        let link = links.iter().find(|l| l.name == *name);
        outside_links.push(link.ok_or_else(|| Error::NoInterface((*name).to_owned()))?);
    }

    let mut wanted = Vec::new();
    for &(addr, named) in eips {
        let named = named.map(|name| outside_links.iter().find(|l| l.name == name).copied());
        let mut present = found.iter().filter(|f| f.address.net.addr() == addr);
        let link = match (present.next(), present.next()) {
            (None, _) => match named {
                Some(Some(link)) => link,
                // It waits for its link, which is gone.
                Some(None) => continue,
                None => home(&outside_links, &found, addr).ok_or(Error::NoOutside(addr))?,
            },
            // Left by an earlier run: adopt it.
            (Some(f), None) if f.ours => match links.iter().find(|l| l.index == f.address.index) {
                Some(link) => link,
                None => continue,
            },
            _ => continue,
        };
        wanted.push((link, addr));
    }

    let added: Vec<AddedAddress> = wanted
        .iter()
        .map(|(link, addr)| AddedAddress { addr: *addr, interface: link.name.clone(), ifindex: link.index })
        .collect();
    // Before adding: a crash in between leaves a record without an address, which is harmless.
    state.update(|s| {
        s.addresses.retain(|a| !added.contains(a));
        s.addresses.extend_from_slice(&added);
    })?;
    for (link, addr) in wanted {
        add(&netlink, link, addr).await?;
        if let Err(source) = garp::announce(link, addr) {
            let error = Error::Announce { addr, interface: link.name.clone(), source };
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "neighbours learn of it when they ask");
        }
    }
    Ok(added)
}

/// Announces every EIP that natgw added to `interface` again: after it came back up, say.
pub async fn announce(interface: &str, state: &StateDir) -> Result<(), Error> {
    let netlink = Netlink::open()?;
    let links = links::dump(&netlink).await?;
    let Some(link) = links.iter().find(|l| l.name == interface) else {
        return Err(Error::NoInterface(interface.to_owned()));
    };
    for AddedAddress { addr, .. } in recorded(state)?.iter().filter(|a| a.ifindex == link.index) {
        garp::announce(link, *addr).map_err(|source| Error::Announce {
            addr: *addr,
            interface: interface.to_owned(),
            source,
        })?;
    }
    Ok(())
}

/// Removes those of `eips` that natgw added.
pub async fn remove_eips(eips: &[Ipv4Addr], state: &StateDir) -> Result<(), Error> {
    let ours: Vec<_> = recorded(state)?.into_iter().filter(|a| eips.contains(&a.addr)).collect();
    remove(&ours, state).await
}

/// Removes every EIP that natgw added.
pub async fn remove_all_eips(state: &StateDir) -> Result<(), Error> {
    let ours = recorded(state)?;
    remove(&ours, state).await
}

/// Every IPv4 address of the namespace.
pub(super) async fn dump(netlink: &Netlink) -> Result<Vec<Found>, Error> {
    let mut request = AddressMessage::default();
    request.header.family = AddressFamily::Inet;
    let answers = netlink
        .dump(RouteNetlinkMessage::GetAddress(request))
        .await
        .map_err(Error::netlink("list the addresses"))?;
    Ok(answers
        .iter()
        .filter_map(|a| match a {
            RouteNetlinkMessage::NewAddress(message) => parse(message),
            _ => None,
        })
        .collect())
}

fn parse(message: &AddressMessage) -> Option<Found> {
    let (mut local, mut peer, mut broadcast, mut ours) = (None, None, None, false);
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(addr)) => local = Some(*addr),
            AddressAttribute::Address(IpAddr::V4(addr)) => peer = Some(*addr),
            AddressAttribute::Broadcast(addr) => broadcast = Some(*addr),
            AddressAttribute::Protocol(p) => ours = *p == AddressProtocol::Other(PROTOCOL),
            _ => {}
        }
    }
    let net = Ipv4Net::new(local.or(peer)?, message.header.prefix_len).ok()?;
    Some(Found { address: Address { index: message.header.index, net, broadcast }, ours })
}

/// The interface that an EIP belongs on.
fn home<'a>(outside: &[&'a Link], found: &[Found], eip: Ipv4Addr) -> Option<&'a Link> {
    let connected = |link: &&&Link| {
        found.iter().any(|f| !f.ours && f.address.index == link.index && f.address.net.contains(&eip))
    };
    outside.iter().find(connected).or_else(|| outside.first()).copied()
}

async fn add(netlink: &Netlink, link: &Link, addr: Ipv4Addr) -> Result<(), Error> {
    let message = RouteNetlinkMessage::NewAddress(message(link.index, addr));
    match netlink.change(message, NLM_F_CREATE | NLM_F_EXCL).await {
        Err(e) if e.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        result => result.map_err(Error::netlink(format!("add the EIP {addr} to {}", link.name))),
    }
}

fn message(ifindex: u32, addr: Ipv4Addr) -> AddressMessage {
    let mut message = AddressMessageBuilder::<Ipv4Addr>::new().index(ifindex).address(addr, 32).build();
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(PROTOCOL)));
    message
}

fn recorded(state: &StateDir) -> Result<Vec<AddedAddress>, Error> {
    match state.read()? {
        Some(s) if s.is_of_this_namespace()? => Ok(s.addresses),
        _ => Ok(Vec::new()),
    }
}

async fn remove(addresses: &[AddedAddress], state: &StateDir) -> Result<(), Error> {
    if addresses.is_empty() {
        return Ok(());
    }
    let netlink = Netlink::open()?;
    let found = dump(&netlink).await?;
    for AddedAddress { addr, interface, ifindex } in addresses {
        let net = Ipv4Net::from(*addr);
        let still_ours = found.iter().any(|f| f.ours && f.address.index == *ifindex && f.address.net == net);
        if !still_ours {
            continue;
        }
        let request = RouteNetlinkMessage::DelAddress(message(*ifindex, *addr));
        match netlink.change(request, 0).await {
            // It went by itself, perhaps with its interface.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {}
            result => {
                result.map_err(Error::netlink(format!("remove the EIP {addr} from {interface}")))?;
            }
        }
    }
    state.update(|s| s.addresses.retain(|a| !addresses.contains(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32) -> Link {
        Link { name: format!("e{index}"), index, mac: [0; 6], mtu: 1500, up: true, ethernet: true }
    }

    #[test]
    fn an_eip_goes_where_its_prefix_is_connected() {
        let (a, b) = (link(1), link(2));
        let address = Address { index: 2, net: "198.51.100.1/24".parse().unwrap(), broadcast: None };
        let found = [Found { address, ours: false }];
        let home = |eip: &str| home(&[&a, &b], &found, eip.parse().unwrap()).map(|l| l.index);
        assert_eq!(home("198.51.100.9"), Some(2));
        assert_eq!(home("203.0.113.9"), Some(1));
    }
}
