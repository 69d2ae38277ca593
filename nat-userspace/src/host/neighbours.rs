//! Keeps neighbours resolved that only natgw's traffic uses: the kernel does not see that traffic, so by itself it
//! would let their entries age, and a changed MAC would stay unnoticed.

use std::{
    collections::{BTreeSet, HashMap},
    io,
    net::Ipv4Addr,
};

use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        neighbour::{
            NeighbourAddress, NeighbourAttribute, NeighbourExtFlags, NeighbourFlags, NeighbourMessage,
            NeighbourState,
        },
        route::RouteProtocol,
    },
};

use super::error::Error;
use super::{
    netlink::{Netlink, PROTOCOL},
    roster::Roster,
    routes, watch,
};

pub use super::roster::Neighbour;

/// Who keeps the entries resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The kernel, by itself (`NTF_MANAGED`).
    Managed,
    /// natgw: [`Keeper::refresh`] every 20 s or less.
    Refreshed,
}

/// The neighbours that are kept. Static entries, and those that another program manages, are left alone: they
/// need no keeping.
pub struct Keeper {
    netlink: Netlink,
    kept: BTreeSet<Neighbour>,
    method: Option<Method>,
    /// The last one that [`Keeper::refresh`] came to.
    refreshed: Option<Neighbour>,
}

impl Keeper {
    /// Starts with what an earlier run of natgw left managed.
    pub async fn new() -> Result<Self, Error> {
        let mut keeper =
            Self { netlink: Netlink::open()?, kept: BTreeSet::new(), method: None, refreshed: None };
        keeper.kept = keeper.dump().await?.iter().filter(|e| is_ours(e)).filter_map(neighbour).collect();
        Ok(keeper)
    }

    /// Starts with what an earlier run of natgw left managed on these interfaces (indexes): on others, it is another
    /// gateway's.
    pub async fn on(interfaces: &[u32]) -> Result<Self, Error> {
        let mut keeper = Self::new().await?;
        keeper.kept.retain(|n| interfaces.contains(&n.ifindex));
        Ok(keeper)
    }

    /// How the kernel lets entries be kept; `None` until one was.
    pub fn method(&self) -> Option<Method> {
        self.method
    }

    /// What is kept.
    pub fn kept(&self) -> &BTreeSet<Neighbour> {
        &self.kept
    }

    /// Keeps exactly `wanted`. One neighbour that the kernel refuses does not keep the others from being kept;
    /// the first error is returned.
    pub async fn set(&mut self, wanted: &BTreeSet<Neighbour>) -> Result<(), Error> {
        let mut result = Ok(());
        for old in self.kept.difference(wanted).copied().collect::<Vec<_>>() {
            result = result.and(self.forget(old.ifindex, old.addr).await);
        }
        for new in wanted.difference(&self.kept.clone()) {
            result = result.and(self.manage(new.ifindex, new.addr).await);
        }
        result
    }

    /// Goes towards keeping exactly `roster`, by at most `limit` changes: gateways first, then what is not wanted any more
    /// is released, then the others come. An interface on which one was refused is tried again next time. The first error
    /// is returned.
    pub async fn approach(&mut self, roster: &Roster, limit: usize) -> Result<(), Error> {
        let mut round = Round { left: limit, refused_on: BTreeSet::new(), result: Ok(()) };
        self.add(&roster.gateways, &mut round).await;
        let wanted: BTreeSet<Neighbour> = roster.gateways.iter().chain(&roster.others).copied().collect();
        let stale: Vec<Neighbour> = self.kept.difference(&wanted).take(round.left).copied().collect();
        round.left -= stale.len();
        for old in stale {
            let released = self.forget(old.ifindex, old.addr).await;
            round.result = round.result.and(released);
        }
        self.add(&roster.others, &mut round).await;
        round.result
    }

    async fn add(&mut self, wanted: &[Neighbour], round: &mut Round) {
        for new in wanted {
            if round.left == 0 {
                return;
            }
            if self.kept.contains(new) || round.refused_on.contains(&new.ifindex) {
                continue;
            }
            round.left -= 1;
            if let Err(e) = self.manage(new.ifindex, new.addr).await {
                round.refused_on.insert(new.ifindex);
                round.result = std::mem::replace(&mut round.result, Ok(())).and(Err(e));
            }
        }
    }

    /// Keeps one more.
    pub async fn manage(&mut self, ifindex: u32, addr: Ipv4Addr) -> Result<(), Error> {
        let neighbour = Neighbour { ifindex, addr };
        self.apply(neighbour).await.map_err(failed("keep", neighbour))?;
        self.kept.insert(neighbour);
        Ok(())
    }

    /// Leaves one to the kernel's usual care; what it knows of it stays known.
    pub async fn forget(&mut self, ifindex: u32, addr: Ipv4Addr) -> Result<(), Error> {
        let neighbour = Neighbour { ifindex, addr };
        if !self.kept.remove(&neighbour) {
            return Ok(());
        }
        self.release(neighbour).await.map_err(failed("release", neighbour))
    }

    /// Leaves all to the kernel's usual care.
    pub async fn unmanage_all(&mut self) -> Result<(), Error> {
        self.set(&BTreeSet::new()).await
    }

    /// Keeps again what was flushed or deleted, or went with its link; with [`Method::Refreshed`], renews all.
    /// To be called when a kept neighbour becomes unusable, when a link comes up, and now and then. At most `limit` at
    /// a time; an interface on which one is refused waits for the next.
    pub async fn refresh(&mut self, limit: usize) -> Result<(), Error> {
        let present: BTreeSet<Neighbour> =
            self.dump().await?.iter().filter(|e| is_managed(e)).filter_map(neighbour).collect();
        let mut result = Ok(());
        let mut refused_on = BTreeSet::new();
        let mut lost: Vec<Neighbour> = self.kept.difference(&present).copied().collect();
        // On from where the last time ended, so that everybody's turn comes.
        let first = lost.partition_point(|l| self.refreshed.is_some_and(|last| *l <= last));
        lost.rotate_left(first);
        for lost in lost.iter().take(limit) {
            self.refreshed = Some(*lost);
            if refused_on.contains(&lost.ifindex) {
                continue;
            }
            let (message, verb) = match self.method {
                None | Some(Method::Managed) => (managed(*lost), "keep"),
                Some(Method::Refreshed) => (entry(*lost, NeighbourFlags::Use), "refresh"),
            };
            if let Err(e) = self.keep(message, *lost).await {
                refused_on.insert(lost.ifindex);
                result = result.and(Err(failed(verb, *lost)(e)));
            }
        }
        result
    }

    /// Ethernet addresses of all neighbours, kept or not, that the kernel would send to.
    pub async fn usable(&self) -> Result<HashMap<(u32, Ipv4Addr), [u8; 6]>, Error> {
        Ok(self.dump().await?.iter().filter_map(watch::reachable).collect())
    }

    /// Gateways of the IPv4 routes that leave by one of `interfaces` (indexes).
    pub async fn gateways(&self, interfaces: &[u32]) -> Result<BTreeSet<Neighbour>, Error> {
        routes::gateways(&self.netlink, interfaces).await
    }

    async fn apply(&mut self, neighbour: Neighbour) -> io::Result<()> {
        if self.method == Some(Method::Refreshed) {
            return self.keep(entry(neighbour, NeighbourFlags::Use), neighbour).await;
        }
        match self.keep(managed(neighbour), neighbour).await {
            // Not a kernel that knows the flag.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EINVAL | libc::EOPNOTSUPP)) => {
                self.method = Some(Method::Refreshed);
                self.keep(entry(neighbour, NeighbourFlags::Use), neighbour).await
            }
            Err(e) => Err(e),
            Ok(()) => {
                if self.method.is_none() {
                    // A kernel may take an attribute that it does not know, and ignore it.
                    let found = self.lookup(neighbour).await?;
                    self.method = found.map(|e| match () {
                        () if is_managed(&e) || is_static(&e) => Method::Managed,
                        () => Method::Refreshed,
                    });
                }
                Ok(())
            }
        }
    }

    async fn keep(&self, message: NeighbourMessage, neighbour: Neighbour) -> io::Result<()> {
        // Managing a static entry would make it an ordinary one.
        let foreign = |e: &NeighbourMessage| is_static(e) || (is_managed(e) && !is_ours(e));
        if self.lookup(neighbour).await?.as_ref().is_some_and(foreign) {
            return Ok(());
        }
        self.netlink.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_CREATE | NLM_F_REPLACE).await
    }

    async fn release(&self, neighbour: Neighbour) -> io::Result<()> {
        match self.lookup(neighbour).await? {
            Some(found) if is_ours(&found) => {}
            _ => return Ok(()),
        }
        // An update without the flags clears them; "use" keeps the rest as it is.
        let message = entry(neighbour, NeighbourFlags::Use);
        match self.netlink.change(RouteNetlinkMessage::NewNeighbour(message), NLM_F_REPLACE).await {
            Err(e) if is_absent(&e) => Ok(()),
            result => result,
        }
    }

    async fn lookup(&self, neighbour: Neighbour) -> io::Result<Option<NeighbourMessage>> {
        let request = RouteNetlinkMessage::GetNeighbour(entry(neighbour, NeighbourFlags::empty()));
        match self.netlink.get(request).await {
            Ok(Some(RouteNetlinkMessage::NewNeighbour(found))) => Ok(Some(found)),
            Ok(_) => Ok(None),
            Err(e) if is_absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    async fn dump(&self) -> Result<Vec<NeighbourMessage>, Error> {
        let mut request = NeighbourMessage::default();
        request.header.family = AddressFamily::Inet;
        let answers = self
            .netlink
            .dump(RouteNetlinkMessage::GetNeighbour(request))
            .await
            .map_err(Error::netlink("list the neighbours"))?;
        Ok(answers
            .into_iter()
            .filter_map(|a| match a {
                RouteNetlinkMessage::NewNeighbour(message) => Some(message),
                _ => None,
            })
            .collect())
    }
}

/// What is left to do, and not to do, of one [`Keeper::approach`].
struct Round {
    left: usize,
    refused_on: BTreeSet<u32>,
    result: Result<(), Error>,
}

fn failed(verb: &str, neighbour: Neighbour) -> impl FnOnce(io::Error) -> Error {
    let Neighbour { ifindex, addr } = neighbour;
    Error::netlink(format!("{verb} the neighbour {addr} on interface {ifindex}"))
}

fn entry(neighbour: Neighbour, flags: NeighbourFlags) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.ifindex = neighbour.ifindex;
    message.header.flags = flags;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(neighbour.addr)));
    message
}

fn managed(neighbour: Neighbour) -> NeighbourMessage {
    let mut message = entry(neighbour, NeighbourFlags::ExtLearned);
    message.attributes.push(NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed));
    message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    message
}

fn neighbour(message: &NeighbourMessage) -> Option<Neighbour> {
    message.attributes.iter().find_map(|a| match a {
        NeighbourAttribute::Destination(NeighbourAddress::Inet(addr)) => {
            Some(Neighbour { ifindex: message.header.ifindex, addr: *addr })
        }
        _ => None,
    })
}

fn is_managed(message: &NeighbourMessage) -> bool {
    message.attributes.iter().any(|a| match a {
        NeighbourAttribute::ExtFlags(flags) => flags.contains(NeighbourExtFlags::Managed),
        _ => false,
    })
}

fn is_ours(message: &NeighbourMessage) -> bool {
    let protocol = NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL));
    is_managed(message) && message.attributes.contains(&protocol)
}

fn is_static(message: &NeighbourMessage) -> bool {
    matches!(message.header.state, NeighbourState::Permanent | NeighbourState::Noarp)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ENODEV))
}
