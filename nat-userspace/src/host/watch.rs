//! What happens to the host's links, neighbours, routes, rules and addresses, as it happens.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::Arc,
};

use futures_util::StreamExt;
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    },
    sys::{AsyncSocket, AsyncSocketExt, TokioSocket, protocols::NETLINK_ROUTE},
};
use tokio::{
    task::JoinHandle,
    time::{Duration, Instant, sleep_until},
};

use super::error::Error;
use super::{
    links::{self, Link},
    netlink::Netlink,
};

/// IPv4 and links only.
const GROUPS: &[MulticastGroup] = &[
    MulticastGroup::Link,
    MulticastGroup::Neigh,
    MulticastGroup::Ipv4Ifaddr,
    MulticastGroup::Ipv4Route,
    MulticastGroup::Ipv4Rule,
];

/// Enough for the start of any message; the rest of it is not looked at.
const RECEIVE: usize = 4096;

/// Between two readings of the links when the kernel reports more than the socket holds, again and again.
const READ_PAUSE: Duration = Duration::from_millis(500);

/// Something happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostEvent {
    /// An interface appeared or was set up, and is up now.
    LinkUp {
        /// Index.
        index: u32,
        /// Name.
        name: String,
        /// Ethernet address; zero when it has none.
        mac: [u8; 6],
    },
    /// An interface has another name. What else is new of it follows.
    LinkRenamed {
        /// Index.
        index: u32,
        /// Name it had.
        before: String,
        /// Name it has.
        name: String,
    },
    /// An interface was deleted, or moved to another namespace.
    LinkGone {
        /// Index it had.
        index: u32,
        /// Name it had.
        name: String,
    },
    /// Another change of an interface: set down, appeared while down, other MAC or MTU.
    LinkChanged {
        /// Index.
        index: u32,
        /// Name.
        name: String,
        /// Ethernet address; zero when it has none.
        mac: [u8; 6],
        /// MTU in bytes.
        mtu: u32,
        /// Administratively up.
        up: bool,
    },
    /// A neighbour entry changed or vanished.
    Neighbour {
        /// Interface index.
        ifindex: u32,
        /// Address.
        addr: Ipv4Addr,
        /// The kernel would send to it: false once it failed, is being resolved, or is deleted.
        usable: bool,
        /// Ethernet address, when the entry has one.
        lladdr: Option<[u8; 6]>,
    },
    /// IPv4 routes or next-hop objects changed.
    Routes,
    /// IPv4 addresses changed.
    Addresses,
    /// IPv4 policy rules changed.
    Rules,
    /// Sysctls below `net.ipv4.conf` changed: `forwarding`, `rp_filter` and a few others are told of, most are not.
    Sysctls,
    /// The kernel had more to tell than the socket holds: anything may have changed. What happened to links
    /// meanwhile follows; the rest is for the receiver to read again.
    Overrun,
}

/// The host's events. Only differences count as link events: what natgw's own attaching and detaching makes the
/// kernel repeat is not reported.
pub struct Watch {
    messages: Box<dyn Messages>,
    task: JoinHandle<()>,
    nexthops: TokioSocket,
    netconf: TokioSocket,
    netlink: Arc<Netlink>,
    /// The links, being read again.
    reading: Option<JoinHandle<Result<Vec<Link>, Error>>>,
    links: BTreeMap<u32, Link>,
    ready: VecDeque<HostEvent>,
    /// When the links are to be read again after an overrun.
    stale: Option<Instant>,
    /// When they were.
    read_at: Option<Instant>,
}

trait Messages: Send {
    fn next(&mut self) -> Next<'_>;
}

type Next<'a> = Pin<Box<dyn Future<Output = Option<NetlinkMessage<RouteNetlinkMessage>>> + Send + 'a>>;

impl<S, A> Messages for S
where
    S: futures_util::Stream<Item = (NetlinkMessage<RouteNetlinkMessage>, A)> + Send + Unpin,
{
    fn next(&mut self) -> Next<'_> {
        Box::pin(async move { StreamExt::next(self).await.map(|(message, _)| message) })
    }
}

impl Watch {
    /// Watches the network namespace of the calling thread from now on.
    pub async fn new() -> Result<Self, Error> {
        let (connection, _, messages) =
            rtnetlink::new_multicast_connection(GROUPS).map_err(Error::NetlinkSocket)?;
        let task = tokio::spawn(connection);
        let nexthops = raw(MulticastGroup::Nexthop).map_err(Error::NetlinkSocket)?;
        let netconf = raw(MulticastGroup::Ipv4Netconf).map_err(Error::NetlinkSocket)?;
        let mut watch = Self {
            messages: Box::new(messages),
            task,
            nexthops,
            netconf,
            netlink: Arc::new(Netlink::open()?),
            reading: None,
            links: BTreeMap::new(),
            ready: VecDeque::new(),
            stale: None,
            read_at: None,
        };
        watch.compare(links::dump(&watch.netlink).await?);
        watch.ready.clear();
        Ok(watch)
    }

    /// Waits for the next event; `None` when the kernel closed the socket. Nothing is lost when the future is
    /// dropped.
    pub async fn next(&mut self) -> Option<HostEvent> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let stale = self.stale;
            if stale.is_some_and(|at| at <= Instant::now()) && self.reading.is_none() {
                // A task of its own: dropped half-way, together with our caller's future, it would never come to an end
                // when much is going on.
                let netlink = Arc::clone(&self.netlink);
                self.reading = Some(tokio::spawn(async move { links::dump(&netlink).await }));
            }
            if let Some(reading) = &mut self.reading {
                match reading.await {
                    Ok(Ok(links)) => self.compare(links),
                    Ok(Err(error)) => {
                        tracing::warn!(?error, "cannot read the interfaces again after an overrun");
                    }
                    Err(error) => tracing::warn!(?error, "cannot read the interfaces again after an overrun"),
                }
                self.reading = None;
                self.read_at = Some(Instant::now());
                self.stale = None;
                continue;
            }
            let (mut unread, mut unread_too) = (Vec::with_capacity(RECEIVE), Vec::with_capacity(RECEIVE));
            tokio::select! {
                () = sleep_until(stale.unwrap_or_else(Instant::now)), if stale.is_some() => {}
                message = self.messages.next() => self.handle(message?),
                _ = self.nexthops.recv(&mut unread) => self.ready.push_back(HostEvent::Routes),
                _ = self.netconf.recv(&mut unread_too) => self.ready.push_back(HostEvent::Sysctls),
            }
        }
    }

    fn handle(&mut self, message: NetlinkMessage<RouteNetlinkMessage>) {
        use RouteNetlinkMessage as M;
        match message.payload {
            // They come one after the other, and are one event until the links were read.
            NetlinkPayload::Overrun(_) if self.stale.is_some() => {}
            NetlinkPayload::Overrun(_) => {
                let at = self.read_at.map_or_else(Instant::now, |read| read + READ_PAUSE);
                self.stale = Some(at);
                self.ready.push_back(HostEvent::Overrun);
            }
            NetlinkPayload::InnerMessage(message) => match message {
                M::NewLink(m) => {
                    if let Some(link) = links::parse(&m) {
                        self.see(link);
                    }
                }
                M::DelLink(m) => {
                    if let Some(link) = links::parse(&m) {
                        self.lose(link.index);
                    }
                }
                M::NewNeighbour(m) => self.ready.extend(neighbour(&m, usable(m.header.state))),
                M::DelNeighbour(m) => self.ready.extend(neighbour(&m, false)),
                M::NewAddress(_) | M::DelAddress(_) => self.ready.push_back(HostEvent::Addresses),
                M::NewRule(_) | M::DelRule(_) => self.ready.push_back(HostEvent::Rules),
                M::NewRoute(_) | M::DelRoute(_) => self.ready.push_back(HostEvent::Routes),
                _ => {}
            },
            _ => {}
        }
    }

    /// Tells of the differences to what is known.
    fn compare(&mut self, now: Vec<Link>) {
        let gone: Vec<u32> =
            self.links.keys().copied().filter(|i| !now.iter().any(|l| l.index == *i)).collect();
        for index in gone {
            self.lose(index);
        }
        for link in now {
            self.see(link);
        }
    }

    fn see(&mut self, link: Link) {
        if let Some(known) = self.links.get_mut(&link.index)
            && known.name != link.name
        {
            let before = std::mem::replace(&mut known.name, link.name.clone());
            let name = link.name.clone();
            self.ready.push_back(HostEvent::LinkRenamed { index: link.index, before, name });
        }
        let known = self.links.insert(link.index, link.clone());
        if known.as_ref() == Some(&link) {
            return;
        }
        let Link { name, index, mac, mtu, up, device: _ } = link;
        self.ready.push_back(if up && !known.is_some_and(|k| k.up) {
            HostEvent::LinkUp { index, name, mac }
        } else {
            HostEvent::LinkChanged { index, name, mac, mtu, up }
        });
    }

    fn lose(&mut self, index: u32) {
        if let Some(Link { name, .. }) = self.links.remove(&index) {
            self.ready.push_back(HostEvent::LinkGone { index, name });
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
        if let Some(reading) = &self.reading {
            reading.abort();
        }
    }
}

/// Next-hop objects and sysctls have sockets of their own because the netlink crate cannot read their messages: that there is
/// one is all that counts. (Routes that vanish with their next-hop object are not reported as such.)
fn raw(group: MulticastGroup) -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_ROUTE)?;
    socket.socket_mut().bind_auto()?;
    socket.socket_mut().add_membership(group as u32)?;
    Ok(socket)
}

fn neighbour(message: &NeighbourMessage, usable: bool) -> Option<HostEvent> {
    if message.header.family != AddressFamily::Inet {
        return None;
    }
    let (mut addr, mut lladdr) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(a)) => addr = Some(*a),
            NeighbourAttribute::LinkLayerAddress(a) => lladdr = a.as_slice().try_into().ok(),
            _ => {}
        }
    }
    Some(HostEvent::Neighbour { ifindex: message.header.ifindex, addr: addr?, usable, lladdr })
}

/// Where the kernel would send what is for a neighbour.
pub(super) fn reachable(message: &NeighbourMessage) -> Option<((u32, Ipv4Addr), [u8; 6])> {
    match neighbour(message, usable(message.header.state))? {
        HostEvent::Neighbour { ifindex, addr, usable: true, lladdr: Some(lladdr) } => {
            Some(((ifindex, addr), lladdr))
        }
        _ => None,
    }
}

fn usable(state: NeighbourState) -> bool {
    use NeighbourState as S;
    matches!(state, S::Reachable | S::Stale | S::Delay | S::Probe | S::Permanent | S::Noarp)
}
