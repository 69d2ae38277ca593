//! A gateway reacts to its host: hops are resolved again when it matters, interfaces that come back are attached again.

use std::cell::Cell;
use std::collections::{HashMap, HashSet};
use std::net::Ipv4Addr;
use std::rc::Rc;
use std::time::Duration;

use nat_common::Addr;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until};

use super::bring_up::Running;
use super::bumps::{Bump, Bumps};
use super::error::{Error, causes};
use super::services::episode::Episode;
use super::services::mtus::Mtus;
use super::services::neighbours::Neighbours;
use super::services::wait;
use super::upkeep::Upkeep;
use crate::host::facts::{HostFacts, Link};
use crate::host::mtus::RouteMtus;
use crate::host::watch::{HostEvent, Watch};
use crate::model::patterns::Matched;
use crate::observe::metrics::HostCounts;

/// Between looks at what should be kept and attached.
const TICK: Duration = Duration::from_secs(3);

/// A burst of route changes makes flows resolve their hops this often at most.
const BUMP_PAUSE: Duration = Duration::from_millis(50);

/// After a neighbour was lost, when to see to it again.
const SOON: Duration = Duration::from_millis(100);

/// Between two looks at the neighbours, however many are lost.
const REFRESH_PAUSE: Duration = Duration::from_secs(1);

/// Between two readings of everything when the kernel reports more than the socket holds, again and again.
const RESYNC_PAUSE: Duration = Duration::from_secs(1);

/// Neighbours that are remembered. The kernel has fewer, as a rule.
const KNOWN: usize = 16_384;

/// A running gateway, and the host as it sees it.
pub(super) struct Host {
    pub(super) running: Running,
    watch: Watch,
    neighbours: Neighbours,
    mtus: Mtus,
    /// Addresses of the host changed since the last bump.
    readdressed: bool,
    upkeep: Upkeep,
    /// Sysctls changed since the last bump.
    sysctls_changed: bool,
    /// Ethernet addresses that flows may have cached.
    known: HashMap<(u32, Ipv4Addr), [u8; 6]>,
    tick: Interval,
    bump_at: Option<Instant>,
    last_bump: Instant,
    bumps: Bumps,
    refresh_at: Option<Instant>,
    last_refresh: Instant,
    resync_at: Option<Instant>,
    last_resync: Option<Instant>,
    overruns: Episode,
    /// Interfaces whose failure to attach was logged.
    complained: HashSet<String>,
}

/// Why the daemon woke up.
pub(super) enum Wake {
    /// The host changed.
    Event(HostEvent),
    /// The MTUs of routes were read again.
    Mtus(RouteMtus),
    /// Interfaces became targets of XDP redirects, or ceased to be.
    Features,
    /// Hops are to be resolved again.
    Bump,
    /// Hops of single neighbours are to be resolved again.
    BumpSome,
    /// Neighbours are to be looked at.
    Refresh,
    /// Reports of the kernel's were lost: everything is to be read again.
    Resync,
    /// Time passed.
    Tick,
}

impl Host {
    /// `watch` was opened before the gateway was started, so that no change in between is missed.
    pub(super) async fn new(running: Running, watch: Watch) -> Result<Self, Error> {
        let mut neighbours = match Neighbours::new(running.pins()).await {
            Ok(neighbours) => neighbours,
            Err(e) => {
                running.stop(None).await.unwrap_or_else(|e| tracing::error!("while cleaning up: {e}"));
                return Err(e);
            }
        };
        neighbours.refresh(&indices(&running)).await;
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            running,
            watch,
            neighbours,
            mtus: Mtus::new(),
            // What changed while the gateway was started.
            readdressed: true,
            upkeep: Upkeep::default(),
            sysctls_changed: false,
            known: HashMap::new(),
            tick,
            bump_at: None,
            last_bump: Instant::now(),
            bumps: Bumps::default(),
            refresh_at: None,
            last_refresh: Instant::now(),
            resync_at: None,
            last_resync: None,
            overruns: Episode::default(),
            complained: HashSet::new(),
        })
    }

    /// Waits for something to do. Dropping the future loses nothing.
    pub(super) async fn wake(&mut self) -> Result<Wake, Error> {
        tokio::select! {
            event = self.watch.next() => event.map(Wake::Event).ok_or(Error::WatchEnded),
            () = self.running.features.next() => Ok(Wake::Features),
            found = self.mtus.read() => Ok(Wake::Mtus(found)),
            () = wait::maybe(self.bump_at.map(sleep_until)) => Ok(Wake::Bump),
            () = wait::maybe(self.bumps.next().map(sleep_until)) => Ok(Wake::BumpSome),
            () = wait::maybe(self.refresh_at.map(sleep_until)) => Ok(Wake::Refresh),
            () = wait::maybe(self.resync_at.map(sleep_until)) => Ok(Wake::Resync),
            _ = self.tick.tick() => Ok(Wake::Tick),
        }
    }

    /// Does what there is to do; to be awaited to its end.
    pub(super) async fn handle(&mut self, wake: Wake) -> Result<(), Error> {
        match wake {
            Wake::Event(event) => self.event(event).await,
            Wake::Mtus(found) => {
                if self.running.set_route_mtus(found)? {
                    self.running.plane.bump_all();
                }
                Ok(())
            }
            Wake::Features => {
                self.running.settle_targets();
                Ok(())
            }
            Wake::Bump => {
                self.bump_at = None;
                self.last_bump = Instant::now();
                if std::mem::take(&mut self.sysctls_changed) {
                    self.keep_sysctls();
                }
                self.register_readdressed().await;
                self.running.plane.bump_all();
                Ok(())
            }
            Wake::BumpSome => {
                for (ifindex, addr) in self.bumps.due(Instant::now()) {
                    self.running.plane.bump(ifindex, Addr::from(addr));
                }
                Ok(())
            }
            Wake::Refresh => {
                self.refresh().await;
                Ok(())
            }
            Wake::Resync => self.resync().await,
            Wake::Tick => {
                self.attach_severed().await?;
                self.attach_missing().await?;
                self.keep_sysctls();
                self.register_readdressed().await;
                self.refresh().await;
                Ok(())
            }
        }
    }

    /// Sets sysctls again that somebody else has changed. The kernel tells of some; others are looked at now and then.
    fn keep_sysctls(&mut self) {
        match self.upkeep.sysctls(&self.running) {
            // The packet path is told what the host forwards and checks by itself; and it asked for routes meanwhile.
            Ok(resets) => {
                if !resets.is_empty() {
                    self.readdressed = true;
                    self.bump_soon();
                }
            }
            Err(e) => tracing::warn!("cannot look after sysctls: {}", causes(&e)),
        }
    }

    async fn event(&mut self, event: HostEvent) -> Result<(), Error> {
        self.readdressed |= matches!(event, HostEvent::Addresses | HostEvent::Overrun);
        if !matches!(event, HostEvent::Neighbour { .. } | HostEvent::Sysctls) {
            // Routes that go with a link, an address or a next-hop object are not reported as such.
            self.neighbours.routes_changed();
            self.mtus.stale();
        }
        match event {
            HostEvent::Neighbour { ifindex, addr, usable, lladdr } => {
                self.neighbour(ifindex, addr, lladdr.filter(|_| usable));
            }
            HostEvent::LinkGone { index, name } => {
                if self.running.interfaces().any(|i| i.ifindex == index) {
                    self.running.forget(index, &name)?;
                    if self.running.gateway.interfaces().contains(&name.as_str()) {
                        tracing::warn!(
                            interface = name,
                            "interface is gone; natgw waits for it to come back"
                        );
                    } else {
                        tracing::info!(interface = name, "interface is gone");
                    }
                }
                self.known.retain(|(i, _), _| *i != index);
            }
            HostEvent::LinkRenamed { index, before, name } => {
                self.renamed(index, &before, &name).await?;
                self.bump_soon();
            }
            HostEvent::LinkUp { name, .. } => {
                self.link(&name).await?;
                self.running.announce_eips(&name).await;
                self.bump_soon();
            }
            HostEvent::LinkChanged { name, .. } => {
                self.link(&name).await?;
                self.bump_soon();
            }
            HostEvent::Overrun => {
                self.neighbours.overrun();
                let now = Instant::now();
                if self.overruns.begins(now) {
                    tracing::warn!(
                        "the kernel reported more changes of interfaces, routes and neighbours than natgw could take in; \
                         reading all of them again"
                    );
                }
                self.bump_soon();
                let at = self.last_resync.map_or(now, |last| now.max(last + RESYNC_PAUSE));
                self.resync_at.get_or_insert(at);
            }
            HostEvent::Sysctls => {
                self.sysctls_changed = true;
                // What the host forwards and checks by itself may be another thing now.
                self.readdressed = true;
                self.bump_soon();
            }
            HostEvent::Routes | HostEvent::Addresses | HostEvent::Rules => self.bump_soon(),
        }
        Ok(())
    }

    /// `lladdr`: `None` when the neighbour cannot be reached any more.
    fn neighbour(&mut self, ifindex: u32, addr: Ipv4Addr, lladdr: Option<[u8; 6]>) {
        let before = match lladdr {
            Some(lladdr) => self.known.insert((ifindex, addr), lladdr),
            None => self.known.remove(&(ifindex, addr)),
        };
        if before == lladdr && lladdr.is_some() {
            return;
        }
        if lladdr.is_none() {
            self.lost(ifindex, addr);
        }
        if self.known.len() > KNOWN {
            self.known.clear();
            self.bump_soon();
        }
        match self.bumps.change((ifindex, addr), Instant::now()) {
            Bump::Now => self.running.plane.bump(ifindex, Addr::from(addr)),
            Bump::Later => {}
            Bump::All => self.bump_soon(),
        }
    }

    fn lost(&mut self, ifindex: u32, addr: Ipv4Addr) {
        self.neighbours.lost(ifindex, addr.into());
        self.refresh_soon();
    }

    /// After an overrun. Links are read by the watch, which tells of what became of them; routes are read by the refresh,
    /// and what depends on rules and addresses is resolved again.
    async fn resync(&mut self) -> Result<(), Error> {
        self.resync_at = None;
        self.last_resync = Some(Instant::now());
        match self.neighbours.usable().await {
            Ok(usable) => {
                let gone: Vec<_> =
                    self.known.keys().filter(|key| !usable.contains_key(key)).copied().collect();
                for (ifindex, addr) in gone {
                    self.lost(ifindex, addr);
                }
                self.known = usable;
            }
            Err(e) => {
                tracing::warn!("{e}");
                self.known.clear();
            }
        }
        // After the reading: whatever changed before it is resolved again, and what changes later is reported.
        self.running.plane.bump_all();
        self.attach_missing().await?;
        self.refresh().await;
        Ok(())
    }

    /// A link appeared or changed: one of ours is attached if it is not, and followed if it has a new address.
    async fn link(&mut self, name: &str) -> Result<(), Error> {
        if !self.running.gateway.manages(name) {
            return Ok(());
        }
        let facts = HostFacts::read_interfaces().await?;
        let Some(link) = facts.link(name) else { return Ok(()) };
        let is_attached = self.running.interfaces().any(|i| i.ifindex == link.index);
        if !self.running.is_usable(link) && self.running.gateway.patterns.side_of(name) != Matched::No {
            // A pattern means what natgw can work on: a port of a bridge is the bridge's.
            self.running.gateway.let_go(name);
            if is_attached {
                tracing::info!(interface = name, "given up: it has become a port of another interface");
                self.running.give_up(link.index, name).await?;
            }
            return Ok(());
        }
        if self.running.gateway.take_in(name) == Matched::Both {
            if self.complained.insert(name.to_owned()) {
                tracing::error!(
                    interface = name,
                    "patterns of both sides match it, so natgw leaves it alone; write patterns that leave each interface on one side"
                );
            }
            return Ok(());
        }
        if is_attached {
            self.running.readdress(link, &facts)
        } else {
            self.attach(link).await;
            Ok(())
        }
    }

    async fn renamed(&mut self, index: u32, before: &str, name: &str) -> Result<(), Error> {
        if !self.running.interfaces().any(|i| i.ifindex == index) {
            return self.link(name).await;
        }
        if self.running.rename(index, before, name).await? {
            tracing::info!(interface = name, before, "renamed; natgw goes on with it");
            return Ok(());
        }
        tracing::warn!(
            interface = before,
            now = name,
            "renamed, and given up: the configuration does not name it so"
        );
        self.link(name).await
    }

    /// The packet path answers from the host's own addresses, and knows the broadcast addresses of its networks.
    async fn register_readdressed(&mut self) {
        if !std::mem::take(&mut self.readdressed) {
            return;
        }
        if let Err(e) = self.running.register_all().await {
            // An interface that vanished meanwhile, mostly. Otherwise the next change of an address helps.
            tracing::warn!("cannot take note of the host's addresses: {e}");
        }
        // Boxed: it may reconfigure the gateway, which takes much room.
        self.readdressed = !Box::pin(self.upkeep.readdressed(&mut self.running)).await;
    }

    async fn attach_missing(&mut self) -> Result<(), Error> {
        let missing: Vec<String> = self
            .running
            .gateway
            .interfaces()
            .into_iter()
            .filter(|name| !self.running.interfaces().any(|i| i.name == *name))
            .map(str::to_owned)
            .collect();
        for name in missing {
            self.link(&name).await?;
        }
        Ok(())
    }

    /// Links that were detached by force. The kernel reports no such thing, so they are looked for.
    async fn attach_severed(&mut self) -> Result<(), Error> {
        let severed = self.running.severed()?;
        if severed.is_empty() {
            return Ok(());
        }
        let facts = HostFacts::read_interfaces().await?;
        for (name, index) in severed {
            // An interface that is gone as well is told of by an event.
            let Some(link) = facts.link(&name).filter(|l| l.index == index) else { continue };
            if !self.complained.contains(&name) {
                tracing::error!(
                    interface = name,
                    "somebody detached natgw's program or a guard here; attaching what is missing again"
                );
            }
            self.attach(link).await;
        }
        Ok(())
    }

    async fn attach(&mut self, link: &Link) {
        match self.running.attach(link).await {
            Ok(()) => {
                self.complained.remove(&link.name);
                tracing::info!(interface = link.name, "attached");
            }
            Err(e) => {
                // Tried again at every tick; said once.
                if self.complained.insert(link.name.clone()) {
                    let cause = std::error::Error::source(&e).map(ToString::to_string);
                    tracing::error!(interface = link.name, cause, "cannot attach yet: {e}");
                }
            }
        }
    }

    async fn refresh(&mut self) {
        self.refresh_at = None;
        self.last_refresh = Instant::now();
        self.neighbours.refresh(&indices(&self.running)).await;
    }

    fn refresh_soon(&mut self) {
        let at = (Instant::now() + SOON).max(self.last_refresh + REFRESH_PAUSE);
        self.refresh_at.get_or_insert(at);
    }

    /// What metrics report of the host.
    pub(super) fn counts(&self) -> Rc<Cell<HostCounts>> {
        self.neighbours.counts()
    }

    fn bump_soon(&mut self) {
        self.bump_at.get_or_insert_with(|| Instant::now().max(self.last_bump + BUMP_PAUSE));
    }

    /// Takes the gateway down.
    pub(super) async fn stop(self) -> Result<(), Error> {
        // Boxed: what calls it would hold all of the gateway several times over.
        Box::pin(self.running.stop(Some(self.neighbours.keeper))).await
    }
}

fn indices(running: &Running) -> Vec<u32> {
    running.interfaces().map(|i| i.ifindex).collect()
}
