//! The interfaces of a running gateway: how each is attached, and what becomes of it when it comes, goes, or is renamed.

use std::net::Ipv4Addr;

use nat_common::Side;

use super::bring_up::{Running, apply_sysctls};
use super::error::Error;
use crate::host::addresses;
use crate::host::facts::{HostFacts, Link};
use crate::host::offloads::{Offloads, Tags};
use crate::model::gateway::XdpChoice;
use crate::model::interface::{Interface, InterfaceSide, XdpMode};
use crate::model::path::{is_redirect_target, path_for};

impl Running {
    /// Decides how an interface is to be attached, and loads what that takes.
    pub(super) fn choose_path(&mut self, link: &Link) -> Result<(), Error> {
        let features = self.features.of(link.index);
        let mode = path_for(&link.device, self.gateway.xdp, features)
            .map_err(|why| Error::Unusable { interface: link.name.clone(), why })?;
        self.plane.load_for(link, self.gateway.side_of(&link.name), mode)?;
        self.paths.insert(link.index, (link.device.clone(), mode));
        Ok(())
    }

    /// Loads what an interface that a pattern takes in will need, as a rule: the verifier is not to keep it waiting.
    pub(super) fn load_for_newcomers(&mut self) -> Result<(), Error> {
        let mode = match self.gateway.xdp {
            XdpChoice::Auto | XdpChoice::Tc => XdpMode::Tc,
            XdpChoice::Native => XdpMode::Native,
            XdpChoice::Generic => XdpMode::Generic,
        };
        let patterns = &self.gateway.patterns;
        let sides =
            [(!patterns.inside.is_empty(), Side::INSIDE), (!patterns.outside.is_empty(), Side::OUTSIDE)];
        let is_one_armed = self.gateway.is_one_armed();
        for (_, side) in sides.into_iter().filter(|(is_open, _)| *is_open) {
            let side = if is_one_armed { Side::ONEARM } else { side };
            self.plane.load_for(&Link::default(), side, mode)?;
        }
        Ok(())
    }

    /// Before XDP is attached: a tagged frame is never to be taken for an untagged one. With tc the tag is beside the frame, where
    /// natgw sees it, and the offload stays as it is: changing it resets the link of some network cards.
    pub(super) fn show_tags(&mut self, links: &[Link]) -> Result<(), Error> {
        let is_xdp = |link: &&Link| self.paths.get(&link.index).is_some_and(|(_, mode)| *mode != XdpMode::Tc);
        let names: Vec<&str> = links.iter().filter(is_xdp).map(|l| l.name.as_str()).collect();
        for (name, tags) in names.iter().zip(Offloads::apply(&names, &self.state)?) {
            if let Tags::Hidden { warning } = tags
                && !self.interfaces().any(|i| i.name == *name)
            {
                tracing::warn!("{warning}");
            }
        }
        Ok(())
    }

    /// Attaches what translates the packets of an interface.
    pub(super) async fn attach_path(&mut self, link: &Link) -> Result<(), Error> {
        let choice = self.gateway.xdp;
        let wanted = self.paths.get(&link.index).map_or(XdpMode::Tc, |(_, mode)| *mode);
        let xdp_mode = self.plane.attach(link, self.gateway.side_of(&link.name), wanted, choice).await?;
        self.paths.insert(link.index, (link.device.clone(), xdp_mode));
        if xdp_mode == XdpMode::Generic {
            tracing::warn!(interface = link.name, "{GENERIC}");
        }
        let (inside, outside) =
            (self.gateway.inside.contains(&link.name), self.gateway.outside.contains(&link.name));
        let side = match (inside, outside) {
            (true, true) => InterfaceSide::Both,
            (true, false) => InterfaceSide::Inside,
            (false, _) => InterfaceSide::Outside,
        };
        let interface =
            Interface { name: link.name.clone(), ifindex: link.index, side, xdp_mode, missing: false };
        match self.interfaces.iter_mut().find(|i| i.name == link.name) {
            Some(known) => *known = interface,
            None => self.interfaces.push(interface),
        }
        Ok(())
    }

    /// Tells the packet path which interfaces XDP can redirect to at this moment.
    pub(super) fn settle_targets(&mut self) {
        let attached: Vec<(String, u32)> = self.interfaces().map(|i| (i.name.clone(), i.ifindex)).collect();
        for (interface, index) in attached {
            let Some((device, mode)) = self.paths.get(&index) else { continue };
            let is_target = is_redirect_target(device, *mode, self.features.of(index));
            match self.plane.set_target(index, is_target) {
                Ok(false) => {}
                Ok(true) => tracing::debug!(interface, is_target, "XDP redirects"),
                // It is gone, mostly; then an event follows. Otherwise tc goes on sending there.
                Err(e) => tracing::warn!(interface, "{e}"),
            }
        }
    }

    /// An interface of the gateway came (back): everything that start does for it, in the same order.
    pub(super) async fn attach(&mut self, link: &Link) -> Result<(), Error> {
        let facts = HostFacts::read_interfaces().await?;
        let present = &facts.links;
        self.features.refresh().await?;
        self.choose_path(link)?;
        self.register(link, &facts)?;
        self.state.update(|s| {
            s.managed.insert(link.name.clone());
        })?;
        self.plane.guard(link, self.gateway.side_of(&link.name))?;
        apply_sysctls(&self.gateway, present, &self.state)?;
        self.show_tags(present)?;
        self.attach_path(link).await?;
        self.features.refresh().await?;
        self.settle_targets();
        self.follow_links()?;
        self.settle_eips(present).await?;
        self.plane.bump_all();
        self.record_interfaces()
    }

    /// An interface of the gateway is gone. It stays on record as missing, unless it was the gateway's by a pattern only.
    pub(super) fn forget(&mut self, index: u32, name: &str) -> Result<(), Error> {
        if self.gateway.let_go(name) {
            self.interfaces.retain(|i| i.ifindex != index);
        }
        for interface in self.interfaces.iter_mut().filter(|i| i.ifindex == index) {
            interface.missing = true;
        }
        self.paths.remove(&index);
        self.plane.detach(name, index)?;
        self.follow_links()?;
        self.plane.bump_all();
        self.record_interfaces()
    }

    /// EIPs belong to a link by its index, which is another one when the link comes back.
    fn follow_links(&mut self) -> Result<(), Error> {
        if self.gateway.outside.len() > 1 {
            self.plane.configure(&self.gateway)?;
        }
        Ok(())
    }

    /// An interface of the gateway has another name. If that is the gateway's too, on the same side, packets go on as they did;
    /// else the interface is given up. Whether it was kept.
    pub(super) async fn rename(&mut self, index: u32, before: &str, name: &str) -> Result<bool, Error> {
        self.state.update(|s| {
            s.managed.insert(name.to_owned());
            let records = s.sysctls.iter_mut().map(|r| (r.ifindex, &mut r.interface));
            let records = records.chain(s.offloads.iter_mut().map(|r| (r.ifindex, &mut r.interface)));
            let records = records.chain(s.addresses.iter_mut().map(|r| (r.ifindex, &mut r.interface)));
            for (_, interface) in records.filter(|(i, interface)| *i == index && *interface == before) {
                name.clone_into(interface);
            }
        })?;
        self.plane.rename(before, name)?;
        let side = self.gateway.side_of(before);
        let came_by_pattern = self.gateway.let_go(before);
        self.gateway.take_in(name);
        let is_kept = self.gateway.interfaces().contains(&name) && self.gateway.side_of(name) == side;
        let missing = self.interfaces.iter().find(|i| i.ifindex == index).cloned();
        self.interfaces.retain(|i| i.name != name || i.ifindex == index);
        for interface in self.interfaces.iter_mut().filter(|i| i.ifindex == index) {
            name.clone_into(&mut interface.name);
        }
        if !is_kept {
            self.give_up(index, name).await?;
        }
        if let Some(missing) = missing.filter(|_| !came_by_pattern) {
            // The configuration names it: it is waited for.
            self.interfaces.push(Interface { missing: true, ..missing });
        }
        self.record_interfaces()?;
        Ok(is_kept)
    }

    /// Takes everything off an interface that is there and not the gateway's any more.
    pub(super) async fn give_up(&mut self, index: u32, name: &str) -> Result<(), Error> {
        let eips: Vec<Ipv4Addr> = self
            .state
            .read()?
            .map(|s| s.addresses.iter().filter(|a| a.ifindex == index).map(|a| a.addr).collect())
            .unwrap_or_default();
        // Before the guards go: the host would answer for them.
        addresses::remove_eips(&eips, &self.state).await?;
        self.interfaces.retain(|i| i.ifindex != index);
        self.paths.remove(&index);
        let mut facts = HostFacts::read_interfaces().await?;
        facts.links.retain(|l| l.index != index);
        // Forwarding, too, ends before the guards go.
        apply_sysctls(&self.gateway, &facts.links, &self.state)?;
        self.plane.detach(name, index)?;
        self.show_tags(&facts.links)?;
        self.plane.bump_all();
        self.record_interfaces()
    }

    /// Whether an interface, which may have become a port of a bridge, is one that natgw can work on.
    pub(super) fn is_usable(&self, link: &Link) -> bool {
        path_for(&link.device, self.gateway.xdp, self.features.of(link.index)).is_ok()
    }
}

/// What generic XDP costs, and where it fails in silence. Nobody gets it who did not ask for it.
const GENERIC: &str = "generic XDP, as configured: slower than native. Packets of a container or VM on this host whose checksum is \
                       left to the offload leave with a wrong one and get no answer: run `ethtool -K PEER tx off` at its end, or \
                       write xdp = \"auto\"";
