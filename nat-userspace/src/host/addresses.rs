//! EIPs on the outside interfaces, so that the kernel answers ARP for them.

use std::{
    collections::{HashMap, HashSet},
    io,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};

use ipnet::Ipv4Net;
use rtnetlink::{
    AddressMessageBuilder,
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage, AddressProtocol},
    },
};

use tokio::{task::JoinHandle, time::sleep};

use super::error::Error;
use super::{
    garp::Announcer,
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
    let (links, found) = (links::dump(&netlink).await?, dump(&netlink).await?);
    let wanted = place(eips, outside, &links, &found)?;
    let added: Vec<AddedAddress> = wanted.iter().map(Wanted::record).collect();
    // Before adding: a crash in between leaves a record without an address, which is harmless.
    let known: HashSet<&AddedAddress> = added.iter().collect();
    state.update(|s| {
        s.addresses.retain(|a| !known.contains(a));
        s.addresses.extend_from_slice(&added);
    })?;
    let new: Vec<Wanted<'_>> = wanted.into_iter().filter(|w| !w.is_ours).collect();
    add_and_announce(&netlink, &new).await?;
    Ok(added)
}

/// Adds again what natgw added and somebody else removed since; returns that. An interface that is gone has no addresses.
pub async fn put_back(state: &StateDir) -> Result<Vec<AddedAddress>, Error> {
    let recorded = recorded(state)?;
    if recorded.is_empty() {
        return Ok(Vec::new());
    }
    let netlink = Netlink::open()?;
    let found = dump(&netlink).await?;
    // Somebody else's own address is left alone, wherever it is.
    let present: HashSet<Ipv4Addr> = found.iter().map(|f| f.address.net.addr()).collect();
    let lost: Vec<AddedAddress> = recorded.into_iter().filter(|a| !present.contains(&a.addr)).collect();
    if lost.is_empty() {
        return Ok(lost);
    }
    let links = links::dump(&netlink).await?;
    let wanted: Vec<Wanted<'_>> = lost
        .iter()
        .filter_map(|a| {
            let link = links.iter().find(|l| l.index == a.ifindex && l.name == a.interface)?;
            Some(Wanted { link, addr: a.addr, is_ours: false })
        })
        .collect();
    add_and_announce(&netlink, &wanted).await?;
    Ok(wanted.iter().map(Wanted::record).collect())
}

/// Announces every EIP that natgw added to `interface` again: after it came back up, say.
pub async fn announce(interface: &str, state: &StateDir) -> Result<(), Error> {
    let recorded = recorded(state)?;
    let on_it: Vec<AddedAddress> = recorded.into_iter().filter(|a| a.interface == interface).collect();
    announce_all(&on_it).await
}

/// The second announcement of new EIPs, in the background (RFC 5227, 2.3: two of them, two seconds apart). Dropping it calls
/// it off.
pub struct Repeat(JoinHandle<()>);

/// RFC 5227, 1.1: `ANNOUNCE_INTERVAL`.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

impl Repeat {
    /// Announces them later.
    pub fn of(added: Vec<AddedAddress>) -> Self {
        Self(tokio::spawn(async move {
            sleep(ANNOUNCE_INTERVAL).await;
            if let Err(error) = announce_all(&added).await {
                tracing::debug!(%error, "cannot announce EIPs a second time");
            }
        }))
    }
}

impl Drop for Repeat {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn announce_all(added: &[AddedAddress]) -> Result<(), Error> {
    if added.is_empty() {
        return Ok(());
    }
    let netlink = Netlink::open()?;
    let links: HashMap<u32, Link> = links::dump(&netlink).await?.into_iter().map(|l| (l.index, l)).collect();
    let failed = |addr, interface: &str| {
        let interface = interface.to_owned();
        move |source| Error::Announce { addr, interface, source }
    };
    let mut announcer = Announcer::open().map_err(failed(added[0].addr, &added[0].interface))?;
    for AddedAddress { addr, interface, ifindex } in added {
        let link = links.get(ifindex).ok_or_else(|| Error::NoInterface(interface.clone()))?;
        announcer.announce(link, *addr).await.map_err(failed(*addr, interface))?;
    }
    Ok(())
}

/// An EIP, and where natgw has it.
pub(super) struct Wanted<'a> {
    pub(super) link: &'a Link,
    pub(super) addr: Ipv4Addr,
    /// It is there, left by an earlier run.
    pub(super) is_ours: bool,
}

impl Wanted<'_> {
    fn record(&self) -> AddedAddress {
        AddedAddress { addr: self.addr, interface: self.link.name.clone(), ifindex: self.link.index }
    }
}

/// Those of `eips` that natgw is to have. Each may name the link that it belongs to.
pub(super) fn place<'a>(
    eips: &[(Ipv4Addr, Option<&str>)],
    outside: &[&str],
    links: &'a [Link],
    found: &[Found],
) -> Result<Vec<Wanted<'a>>, Error> {
    let mut outside_links = Vec::new();
    for name in outside {
        let link = links.iter().find(|l| l.name == *name);
        outside_links.push(link.ok_or_else(|| Error::NoInterface((*name).to_owned()))?);
    }
    let networks: Vec<&Found> = found.iter().filter(|f| !f.ours).collect();
    let mut present: HashMap<Ipv4Addr, Vec<&Found>> = HashMap::new();
    for address in found {
        present.entry(address.address.net.addr()).or_default().push(address);
    }
    let mut wanted = Vec::new();
    for &(addr, named) in eips {
        let named = named.map(|name| outside_links.iter().find(|l| l.name == name).copied());
        let (link, is_ours) = match present.get(&addr).map(Vec::as_slice) {
            None => match named {
                Some(Some(link)) => (link, false),
                // It waits for its link, which is gone.
                Some(None) => continue,
                None => (home(&outside_links, &networks, addr).ok_or(Error::NoOutside(addr))?, false),
            },
            // Left by an earlier run: adopt it.
            Some([f]) if f.ours => match links.iter().find(|l| l.index == f.address.index) {
                Some(link) => (link, true),
                None => continue,
            },
            Some(_) => continue,
        };
        wanted.push(Wanted { link, addr, is_ours });
    }
    Ok(wanted)
}

/// EIPs that are added before they are announced, and the next ones are added.
const TOGETHER: usize = 64;

async fn add_and_announce(netlink: &Netlink, wanted: &[Wanted<'_>]) -> Result<(), Error> {
    if wanted.is_empty() {
        return Ok(());
    }
    let mut announcer = Announcer::open();
    let mut is_told = false;
    let mut tell = |wanted: &Wanted<'_>, source: io::Error| {
        // One line, however many.
        if !std::mem::replace(&mut is_told, true) {
            let error = Error::Announce { addr: wanted.addr, interface: wanted.link.name.clone(), source };
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), "neighbours learn of it when they ask");
        }
    };
    for together in wanted.chunks(TOGETHER) {
        let messages =
            together.iter().map(|w| RouteNetlinkMessage::NewAddress(message(w.link.index, w.addr)));
        let outcomes = netlink.change_all(messages, NLM_F_CREATE | NLM_F_EXCL).await;
        for (Wanted { link, addr, .. }, outcome) in together.iter().zip(outcomes) {
            match outcome {
                Err(e) if e.raw_os_error() == Some(libc::EEXIST) => {}
                outcome => {
                    outcome.map_err(Error::netlink(format!("add the EIP {addr} to {}", link.name)))?;
                }
            }
        }
        match &mut announcer {
            Ok(announcer) => {
                for wanted in together {
                    if let Err(source) = announcer.announce(wanted.link, wanted.addr).await {
                        tell(wanted, source);
                    }
                }
            }
            Err(source) => tell(&together[0], io::Error::new(source.kind(), source.to_string())),
        }
    }
    Ok(())
}

/// Removes those of `eips` that natgw added.
pub async fn remove_eips(eips: &[Ipv4Addr], state: &StateDir) -> Result<(), Error> {
    let eips: HashSet<&Ipv4Addr> = eips.iter().collect();
    let ours: Vec<_> = recorded(state)?.into_iter().filter(|a| eips.contains(&a.addr)).collect();
    remove(&ours, state).await
}

/// Removes every EIP that natgw added.
pub async fn remove_all_eips(state: &StateDir) -> Result<(), Error> {
    let ours = recorded(state)?;
    remove(&ours, state).await
}

/// The addresses that the host has now, natgw's included, by interface.
pub fn present() -> Result<HashSet<(String, Ipv4Addr)>, Error> {
    let all = nix::ifaddrs::getifaddrs().map_err(|e| Error::netlink("list the addresses")(e.into()))?;
    Ok(all.filter_map(|a| Some((a.interface_name, a.address?.as_sockaddr_in()?.ip()))).collect())
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
fn home<'a>(outside: &[&'a Link], networks: &[&Found], eip: Ipv4Addr) -> Option<&'a Link> {
    let connected = |link: &&&Link| {
        networks.iter().any(|f| f.address.index == link.index && f.address.net.contains(&eip))
    };
    outside.iter().find(connected).or_else(|| outside.first()).copied()
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
    let of_natgw: HashSet<(u32, Ipv4Net)> =
        found.iter().filter(|f| f.ours).map(|f| (f.address.index, f.address.net)).collect();
    let still_ours: Vec<&AddedAddress> =
        addresses.iter().filter(|a| of_natgw.contains(&(a.ifindex, Ipv4Net::from(a.addr)))).collect();
    let requests = still_ours.iter().map(|a| RouteNetlinkMessage::DelAddress(message(a.ifindex, a.addr)));
    let outcomes = netlink.change_all(requests, 0).await;
    for (AddedAddress { addr, interface, .. }, outcome) in still_ours.into_iter().zip(outcomes) {
        match outcome {
            // It went by itself, perhaps with its interface.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EADDRNOTAVAIL | libc::ENODEV)) => {}
            outcome => {
                outcome.map_err(Error::netlink(format!("remove the EIP {addr} from {interface}")))?;
            }
        }
    }
    let gone: HashSet<&AddedAddress> = addresses.iter().collect();
    state.update(|s| s.addresses.retain(|a| !gone.contains(a)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32) -> Link {
        Link { name: format!("e{index}"), index, mtu: 1500, up: true, ..Link::default() }
    }

    #[test]
    fn an_eip_goes_where_its_prefix_is_connected() {
        let (a, b) = (link(1), link(2));
        let address = Address { index: 2, net: "198.51.100.1/24".parse().unwrap(), broadcast: None };
        let found = Found { address, ours: false };
        let home = |eip: &str| home(&[&a, &b], &[&found], eip.parse().unwrap()).map(|l| l.index);
        assert_eq!(home("198.51.100.9"), Some(2));
        assert_eq!(home("203.0.113.9"), Some(1));
    }
}
