//! A gateway that is up: the data plane and what was changed on the host for it, in the order that leaks nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use nat_common::eip::MAX_ROUTE_MTUS;

use super::error::Error;
use super::options::{AtExit, Options};
use crate::config::Config;
use crate::datapath::pins::Pins;
use crate::datapath::{Adoption, Datapath, iface};
use crate::host::duplicates::Probe;
use crate::host::facts::{HostFacts, Link};
use crate::host::features::Features;
use crate::host::mtus::{self, RouteMtus};
use crate::host::neighbours::Keeper;
use crate::host::offloads::Offloads;
use crate::host::state::{FollowedEip, Lock, RunState, StateDir};
use crate::host::sysctls::{Before, Sysctls};
use crate::host::{addresses, bpffs};
use crate::model::gateway::{Announce, Gateway};
use crate::model::interface::{Interface, XdpMode};
use crate::model::path::Device;

/// A gateway that is up.
pub(super) struct Running {
    pub(super) gateway: Gateway,
    pub(super) plane: Datapath,
    /// What was written, which is held against the host again when addresses change.
    pub(super) config: Box<Config>,
    pub(super) features: Features,
    /// The path of each interface that is there, by index: as it is to be, then as it is.
    pub(super) paths: BTreeMap<u32, (Device, XdpMode)>,
    route_mtus: RouteMtus,
    pub(super) state: StateDir,
    bpffs: PathBuf,
    /// All that were attached once, those that are missing included.
    pub(super) interfaces: Vec<Interface>,
    lock: Lock,
    /// New EIPs are announced twice.
    repeat: Option<addresses::Repeat>,
}

impl Running {
    /// Brings the gateway up, adopting what an earlier run left. When that fails, nothing is left behind, except
    /// an adopted data plane, which keeps translating as it did.
    pub(super) async fn start(gateway: Gateway, options: &Options) -> Result<(Self, Adoption), Error> {
        let mut state = StateDir::open(&options.state_dir)?;
        let lock = state.try_lock()?;
        let before = state.read()?;
        let Prepared { bpffs, facts, features, plane, adoption, probe } =
            match prepare(&state, &gateway, options).await {
                Ok(prepared) => prepared,
                Err(e) => {
                    undo(&state, lock, before, options)
                        .unwrap_or_else(|e| tracing::error!("while cleaning up: {e}"));
                    return Err(e);
                }
            };
        let mut running = Self {
            gateway,
            plane,
            config: options.config.clone(),
            features,
            paths: BTreeMap::new(),
            route_mtus: RouteMtus::default(),
            state,
            bpffs,
            interfaces: Vec::new(),
            lock,
            repeat: None,
        };
        match running.bring_up(&facts, probe).await {
            Ok(()) => Ok((running, adoption)),
            Err(e) if adoption == Adoption::Adopted => {
                tracing::warn!("the data plane of the earlier run stays up; `natgw detach` takes it down");
                running.plane.persist();
                Err(e)
            }
            Err(e) => {
                running.stop(None).await.unwrap_or_else(|e| tracing::error!("while cleaning up: {e}"));
                Err(e)
            }
        }
    }

    async fn bring_up(&mut self, facts: &HostFacts, probe: Option<Probe>) -> Result<(), Error> {
        // Before anything is attached: where another host has an EIP, this one is as it was.
        if let Some(probe) = probe {
            probe.end().await?;
        }
        let links = &links(&self.gateway, facts)?;
        let indices: Vec<u32> = links.iter().map(|l| l.index).collect();
        self.plane.unregister(|index| indices.contains(&index))?;
        for link in links {
            self.choose_path(link)?;
        }
        self.load_for_newcomers()?;
        for link in links {
            self.register(link, facts)?;
        }
        self.set_route_mtus(mtus::read().await?)?;
        for link in links {
            self.plane.guard(link, self.gateway.side_of(&link.name))?;
        }
        // Only now: forwarding without guards would let inside addresses out.
        apply_sysctls(&self.gateway, links, &self.state)?;
        self.show_tags(links)?;
        for link in links {
            self.attach_path(link).await?;
        }
        let managed = self.gateway.interfaces();
        for name in self.plane.detach_others(&managed)? {
            tracing::info!(interface = name, "detached: the configuration no longer names it");
        }
        self.plane.retire_leftovers()?;
        // Attaching makes some interfaces a target of redirects.
        self.features.refresh().await?;
        self.settle_targets();
        self.settle_eips(links).await?;
        self.plane.bump_all();
        self.record_interfaces()
    }

    /// Tells the packet path about an interface as it is now.
    pub(super) fn register(&mut self, link: &Link, facts: &HostFacts) -> Result<(), Error> {
        let before = Before::of(&link.name, &self.state)?;
        Ok(self.plane.register(link, iface::describe(&self.gateway, link, facts, before))?)
    }

    /// [`Self::register`] for every interface that is attached: their addresses may have changed. Goes on after an error and
    /// returns the first.
    pub(super) async fn register_all(&mut self) -> Result<(), Error> {
        let facts = HostFacts::read_interfaces().await?;
        let attached: Vec<u32> = self.interfaces().map(|i| i.ifindex).collect();
        let mut result = Ok(());
        for link in facts.links.iter().filter(|l| attached.contains(&l.index)) {
            result = result.and(self.register(link, &facts));
        }
        result
    }

    /// Tells the packet path the MTUs of routes. Whether any is another now, so that hops are to be resolved again.
    pub(super) fn set_route_mtus(&mut self, found: RouteMtus) -> Result<bool, Error> {
        let before = std::mem::replace(&mut self.route_mtus, found);
        let RouteMtus { mtus, left_out, ignored } = &self.route_mtus;
        if (*left_out, *ignored) != (0, 0) && (before.left_out, before.ignored) == (0, 0) {
            tracing::warn!(
                "more routes with an mtu, and more specific ones without, than natgw has room for ({MAX_ROUTE_MTUS}): the \
                 mtu of the route around them holds for {left_out} prefixes that have none, and {ignored} prefixes with an \
                 mtu are ignored"
            );
        }
        Ok(self.plane.set_route_mtus(mtus)?)
    }

    /// Interfaces (name, index) from which somebody else detached what natgw attached.
    pub(super) fn severed(&self) -> Result<Vec<(String, u32)>, Error> {
        let mut severed = Vec::new();
        for Interface { name, ifindex, .. } in self.interfaces() {
            if !self.plane.is_intact(name, *ifindex)? {
                severed.push((name.clone(), *ifindex));
            }
        }
        Ok(severed)
    }

    /// The interface's address changed.
    pub(super) fn readdress(&mut self, link: &Link, facts: &HostFacts) -> Result<(), Error> {
        self.register(link, facts)?;
        self.plane.bump_all();
        Ok(())
    }

    /// Announces natgw's EIPs on an interface that came up again.
    pub(super) async fn announce_eips(&self, name: &str) {
        let has_eips =
            self.gateway.announce == Announce::Arp && self.gateway.outside.iter().any(|o| o == name);
        if has_eips && let Err(e) = addresses::announce(name, &self.state).await {
            tracing::warn!("{e}");
        }
    }

    /// Interfaces that are attached.
    pub(super) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.iter().filter(|i| !i.missing)
    }

    /// The pins.
    pub(super) fn pins(&self) -> &Pins {
        self.plane.pins()
    }

    /// Makes `wanted` the configuration of the gateway, which has passed [`super::reload`]; returns whether it differs from
    /// the one before. Should a change fail, those before it hold, and the next reload goes on from there.
    pub(super) async fn reconfigure(&mut self, wanted: Gateway) -> Result<bool, Error> {
        let facts = HostFacts::read_interfaces().await?;
        if let Some(probe) = probe(&wanted, &facts).await? {
            probe.end().await?;
        }
        let is_other = self.plane.configure(&wanted)? || self.gateway != wanted;
        self.gateway = wanted;
        self.register_all().await?;
        self.settle_eips(&facts.links).await?;
        self.plane.bump_all();
        self.state.update(|s| {
            s.eips = eips(&self.gateway);
            s.followed = followed(&self.gateway);
        })?;
        Ok(is_other)
    }

    /// Gives the host the addresses of the EIPs, and takes those away that the configuration does not name (any more).
    pub(super) async fn settle_eips(&mut self, links: &[Link]) -> Result<(), Error> {
        self.remove_stale_eips().await?;
        // Not before: the packet path would take them for any other address of the host.
        self.plane.finish()?;
        let outside = present(&self.gateway.outside, links);
        if self.gateway.announce == Announce::Arp && !outside.is_empty() {
            let added = addresses::add_eips(&homes(&self.gateway), &outside, &self.state).await?;
            self.repeat = Some(addresses::Repeat::of(added));
        }
        Ok(())
    }

    /// Removes addresses that natgw added and the configuration does not name (any more).
    async fn remove_stale_eips(&self) -> Result<(), Error> {
        let wanted = eips(&self.gateway);
        let stale: Vec<Ipv4Addr> = self
            .state
            .read()?
            .map(|s| s.addresses.into_iter().map(|a| a.addr).collect::<Vec<_>>())
            .unwrap_or_default()
            .into_iter()
            .filter(|a| self.gateway.announce == Announce::None || !wanted.contains(a))
            .collect();
        Ok(addresses::remove_eips(&stale, &self.state).await?)
    }

    pub(super) fn record_interfaces(&self) -> Result<(), Error> {
        Ok(self.state.update(|s| s.interfaces.clone_from(&self.interfaces))?)
    }

    /// Leaves everything up for the next start.
    pub(super) fn persist(self) {
        tracing::info!("the data plane stays up; `natgw detach` takes it down");
        self.plane.persist();
    }

    /// Undoes everything. EIPs go before XDP, or the host would answer for them; the guards go last, so that no
    /// inside address leaks while the kernel forwards by itself. Goes on after an error and returns the first.
    pub(super) async fn stop(self, keeper: Option<Keeper>) -> Result<(), Error> {
        let Self { mut plane, state, bpffs, lock, repeat, .. } = self;
        drop(repeat);
        let mut result: Result<(), Error> = Sysctls::restore_saved(&state).map_err(Error::from);
        result = result.and(addresses::remove_all_eips(&state).await.map_err(Error::from));
        result = result.and(plane.detach_paths().map_err(Error::from));
        result = result.and(Offloads::restore_saved(&state).map_err(Error::from));
        if let Some(mut keeper) = keeper {
            result = result.and(keeper.unmanage_all().await.map_err(Error::from));
        }
        result = result.and(plane.teardown().map_err(Error::from));
        result = result.and(bpffs::unmount_if_ours(&bpffs).map_err(Error::from));
        if result.is_ok() {
            state.leave(lock)?;
        }
        result
    }
}

/// What a start has before it attaches anything.
struct Prepared {
    bpffs: PathBuf,
    facts: HostFacts,
    features: Features,
    plane: Datapath,
    adoption: Adoption,
    probe: Option<Probe>,
}

async fn prepare(state: &StateDir, gateway: &Gateway, options: &Options) -> Result<Prepared, Error> {
    let bpffs = bpffs::resolve(&options.bpffs)?;
    record_start(state, gateway, options, &bpffs)?;
    let facts = HostFacts::read_interfaces().await?;
    links(gateway, &facts)?;
    let features = Features::open().await?;
    // Its answers come in while the kernel verifies the programs.
    let probe = probe(gateway, &facts).await?;
    let (plane, adoption) = Datapath::create_or_adopt(&Pins::new(&bpffs), gateway, options.log)?;
    Ok(Prepared { bpffs, facts, features, plane, adoption, probe })
}

/// After a refused start: the state directory is as it was `before`.
fn undo(state: &StateDir, lock: Lock, before: Option<RunState>, options: &Options) -> Result<(), Error> {
    if let Some(before) = before {
        return Ok(state.write(&before)?);
    }
    state.leave(lock)?;
    let bpffs = std::path::absolute(&options.bpffs).unwrap_or_else(|_| options.bpffs.clone());
    Ok(bpffs::unmount_if_ours(&bpffs)?)
}

fn record_start(
    state: &StateDir,
    gateway: &Gateway,
    options: &Options,
    bpffs: &std::path::Path,
) -> Result<(), Error> {
    let mut fresh = RunState::here()?;
    match state.read()? {
        Some(old) if old.is_of_this_namespace()? => {}
        old => {
            fresh.directories = old.map(|s| s.directories).unwrap_or_default();
            state.write(&fresh)?;
        }
    }
    state.update(|s| {
        s.version = fresh.version;
        s.pid = fresh.pid;
        s.started = fresh.started;
        bpffs.clone_into(&mut s.bpffs);
        s.managed.extend(gateway.interfaces().into_iter().map(str::to_owned));
        s.eips = eips(gateway);
        s.followed = followed(gateway);
        s.contested = Vec::new();
        s.persist = options.at_exit == AtExit::Persist;
    })?;
    Ok(())
}

/// The gateway's own; all of them must be there.
fn links(gateway: &Gateway, facts: &HostFacts) -> Result<Vec<Link>, Error> {
    gateway
        .interfaces()
        .into_iter()
        .map(|name| facts.link(name).cloned().ok_or_else(|| Error::NoInterface(name.to_owned())))
        .collect()
}

pub(super) fn apply_sysctls(gateway: &Gateway, links: &[Link], state: &StateDir) -> Result<(), Error> {
    Sysctls::apply(&present(&gateway.inside, links), &present(&gateway.outside, links), state)?;
    Ok(())
}

pub(super) fn present<'a>(names: &'a [String], links: &[Link]) -> Vec<&'a str> {
    names.iter().map(String::as_str).filter(|n| links.iter().any(|l| l.name == *n)).collect()
}

fn eips(gateway: &Gateway) -> Vec<Ipv4Addr> {
    gateway.pools.iter().flat_map(|p| &p.eips).map(|e| e.addr).collect()
}

fn followed(gateway: &Gateway) -> Vec<FollowedEip> {
    let all = gateway.followed().into_iter();
    all.map(|(name, addr)| FollowedEip { interface: name.to_owned(), addr }).collect()
}

/// The dedicated EIPs, and the link that each belongs to.
fn homes(gateway: &Gateway) -> Vec<(Ipv4Addr, Option<&str>)> {
    let all = gateway.pools.iter().flat_map(|p| &p.eips);
    all.filter(|e| e.host_ports.is_none()).map(|e| (e.addr, e.outside.as_deref())).collect()
}

/// Asks whether other hosts have the EIPs that natgw would add.
async fn probe(gateway: &Gateway, facts: &HostFacts) -> Result<Option<Probe>, Error> {
    let outside = present(&gateway.outside, &facts.links);
    if !gateway.duplicate_check || gateway.announce == Announce::None || outside.is_empty() {
        return Ok(None);
    }
    Ok(Some(Probe::begin(&homes(gateway), &outside).await?))
}
