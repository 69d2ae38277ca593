//! The data plane that a daemon owns.

use std::collections::BTreeMap;
use std::path::PathBuf;

use aya::Ebpf;
use ipnet::Ipv4Net;
use nat_common::hop::Iface;
use nat_common::{FlowEntry, Side, abi, table};

use super::adopt::{self, Adoption};
use super::error::Error;
use super::hops::Hops;
use super::load::{self, LoadOptions, LogLevel};
use super::memory::Access;
use super::pins::{self, PinLock, Pins};
use super::programs::{Programs, for_path, guards_for};
use super::tables::apply::Tables;
use super::tables::contents::Edit;
use super::tables::plan;
use super::tables::wanted::{self, Keys, Wanted};
use super::{attach, guard, links, lost};
use crate::host::facts::Link;
use crate::host::{assignment, namespace, offloads};
use crate::model::gateway::{Gateway, XdpChoice};
use crate::model::interface::XdpMode;

/// Loaded programs and configured maps, pinned. Dropping it leaves everything pinned in place.
pub struct Datapath {
    pins: Pins,
    programs: Programs,
    tables: Tables,
    hops: Hops,
    keys: Keys,
    /// Places of the flow table.
    places: u32,
    /// EIPs that [`Self::finish`] is to remove.
    pending: Vec<Edit>,
    /// Directories that hold nothing any more but guards which ours are about to replace.
    leftovers: Vec<PathBuf>,
    lock: PinLock,
}

impl Datapath {
    /// Takes over the data plane that is pinned, or creates one, and configures its maps for `gateway`. Nothing
    /// is attached yet; programs of an adopted one keep running until [`Self::attach`] swaps them.
    pub fn create_or_adopt(pins: &Pins, gateway: &Gateway, log: LogLevel) -> Result<(Self, Adoption), Error> {
        let lock = pins.lock()?;
        let max_flows = adopt::table_size(pins, gateway)?;
        let (adoption, leftovers) = adopt::prepare(pins, max_flows)?;
        // One that is replaced for another reason leaves no size to be kept.
        let max_flows = if adoption == Adoption::Adopted { max_flows } else { gateway.max_flows };
        if max_flows != gateway.max_flows {
            tracing::info!(
                max_flows,
                "the flow table keeps its size; max_flows sets another, and empties it"
            );
        }
        let lost_at = lost::places();
        let options = LoadOptions {
            max_flows,
            one_armed: gateway.is_one_armed().into(),
            // One that a pattern takes in later may be of any kind.
            transmits: (gateway.patterns.inside.is_empty()
                && gateway.inside.iter().all(|interface| offloads::sends_back(interface)))
            .into(),
            several_inside: gateway.has_several_inside().into(),
            lost_at: lost_at.unwrap_or_default(),
            shares: gateway
                .pools
                .iter()
                .any(|pool| !pool.follows.is_empty() || pool.eips.iter().any(|eip| eip.host_ports.is_some())),
            log,
        };
        match Self::load(pins, options).and_then(|(mut programs, tables)| {
            lost::attach(programs.ebpf_mut(), pins, lost_at)?;
            let hops = Hops::open(pins, Access::Write)?;
            let keys = keys(&tables, &hops, &adoption)?;
            let places = table::slots(max_flows);
            let mut this = Self {
                pins: pins.clone(),
                programs,
                tables,
                hops,
                keys,
                places,
                pending: vec![],
                leftovers,
                lock,
            };
            this.configure(gateway)?;
            Ok(this)
        }) {
            Ok(this) => Ok((this, adoption)),
            Err(e) => {
                if adoption == Adoption::Fresh {
                    // The first error is the one to report.
                    let _ = pins.remove_all();
                }
                Err(e)
            }
        }
    }

    fn load(pins: &Pins, options: LoadOptions) -> Result<(Programs, Tables), Error> {
        pins.create()?;
        let mark = pins.namespace_mark(namespace::current()?);
        crate::host::private::directory(&mark)?;
        let mut programs = Programs::new(load::open(pins, options)?, pins.clone());
        programs.need(abi::program::REAPER)?;
        let tables = Tables::open(pins)?;
        Ok((programs, tables))
    }

    /// The pins.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The loaded object, for the logger that reads its log map.
    pub fn ebpf_mut(&mut self) -> &mut Ebpf {
        self.programs.ebpf_mut()
    }

    /// Flows that the table has room for.
    pub fn max_flows(&self) -> u32 {
        table::max_flows(self.places).unwrap_or(self.places / table::SLOTS_PER_FLOW)
    }

    /// Memory that the flow table has locked.
    pub fn table_bytes(&self) -> u64 {
        u64::from(self.places) * size_of::<FlowEntry>() as u64
    }

    /// Brings the maps to what `gateway` says; whether anything was different. Interfaces and MTUs of routes are not in it, and
    /// EIPs that go stay until [`Self::finish`]: no new flow gets them, and nothing that is sent to them is passed to the
    /// host, which may still have their addresses.
    pub fn configure(&mut self, gateway: &Gateway) -> Result<bool, Error> {
        let wanted = Wanted::new(gateway, &self.keys, self.places);
        let mut edits = plan::plan(&self.tables.contents()?, &wanted)?;
        let is_other = !edits.is_empty();
        let kept = edits.iter().position(|e| matches!(e, Edit::RemoveEip(_))).unwrap_or(edits.len());
        self.pending = edits.split_off(kept);
        self.tables.apply(&edits)?;
        Ok(is_other)
    }

    /// After the host has lost the addresses of EIPs that go: the rest of [`Self::configure`].
    pub fn finish(&mut self) -> Result<(), Error> {
        let pending = std::mem::take(&mut self.pending);
        self.tables.apply(&pending)
    }

    /// Tells the packet path what MTUs routes have; whether any changed, and [`Self::bump_all`] is to follow.
    pub fn set_route_mtus(&mut self, mtus: &BTreeMap<Ipv4Net, u32>) -> Result<bool, Error> {
        let edits = plan::route_mtus(&self.tables.route_mtus()?, &wanted::route_mtus(mtus))?;
        self.tables.apply(&edits)?;
        Ok(!edits.is_empty())
    }

    /// Tells the packet path about an interface ([`super::iface::describe`]); again when that changes.
    pub fn register(&mut self, link: &Link, described: Iface) -> Result<(), Error> {
        match plan::interface(&self.tables.interfaces()?, link.index, described)? {
            Some(edit) => self.tables.apply(&[edit]),
            None => Ok(()),
        }
    }

    /// Makes the packet path forget the interfaces whose index `is_kept` does not want.
    pub fn unregister(&mut self, is_kept: impl Fn(u32) -> bool) -> Result<(), Error> {
        let edits = plan::forget(&self.tables.interfaces()?, is_kept);
        self.tables.apply(&edits)
    }

    /// Makes every flow that is sent to this neighbour resolve its hop again.
    pub fn bump(&self, ifindex: u32, addr: nat_common::Addr) {
        self.hops.bump(&self.keys.placing, ifindex, addr);
    }

    /// Makes every flow resolve its hop again.
    pub fn bump_all(&self) {
        self.hops.bump_all();
    }

    /// Loads what an interface of `side` (a constant of [`nat_common::Side`]) needs: what the verifier refuses is known before
    /// anything is attached or changed.
    pub fn load_for(&mut self, link: &Link, side: u8, mode: XdpMode) -> Result<(), Error> {
        let (egress, ingress) = guards_for(link.device.framing);
        if side != Side::INSIDE {
            self.programs.need(egress)?;
        }
        self.programs.need(ingress)?;
        self.programs.need(for_path(side, link.device.framing, mode))
    }

    /// Attaches the program for `side` (a constant of [`nat_common::Side`]) as `wanted`, or swaps it into the link that an earlier
    /// daemon pinned, without a packet in between that meets no program.
    pub async fn attach(
        &mut self,
        link: &Link,
        side: u8,
        wanted: XdpMode,
        choice: XdpChoice,
    ) -> Result<XdpMode, Error> {
        attach::attach(&mut self.programs, &self.pins, link, side, wanted, choice).await
    }

    /// Says whether XDP can redirect to an interface; otherwise tc sends there. Whether that is new.
    pub fn set_target(&mut self, index: u32, is_target: bool) -> Result<bool, Error> {
        let edit = plan::target(&self.tables.interfaces()?, &self.tables.targets(), index, is_target);
        edit.map_or(Ok(false), |edit| self.tables.apply(&[edit]).map(|()| true))
    }

    /// Gives what is pinned of an interface the interface's new name.
    pub fn rename(&self, before: &str, name: &str) -> Result<(), Error> {
        self.pins.rename(before, name)
    }

    /// Puts the guards on an interface of `side` (a constant of [`nat_common::Side`]), or swaps them into the links that
    /// are pinned.
    pub fn guard(&mut self, link: &Link, side: u8) -> Result<(), Error> {
        guard::guard(&mut self.programs, &self.pins, link, side)
    }

    /// Whether everything that was attached to an interface still is: somebody may have detached a link by force.
    /// Classic tc filters are not looked at.
    pub fn is_intact(&self, interface: &str, index: u32) -> Result<bool, Error> {
        links::is_intact(&self.pins, interface, index)
    }

    /// Forgets an interface: its pins go, and with them whatever is still attached.
    pub fn detach(&mut self, interface: &str, index: u32) -> Result<(), Error> {
        self.unregister(|known| known != index)?;
        attach::detach(&self.pins, interface, index)
    }

    /// Detaches from interfaces that an earlier configuration managed and `managed` does not name.
    pub fn detach_others(&mut self, managed: &[&str]) -> Result<Vec<String>, Error> {
        attach::detach_others(&self.pins, managed)
    }

    /// After every guard is attached: removes what an earlier data plane left because it guarded.
    pub fn retire_leftovers(&mut self) -> Result<(), Error> {
        for dir in std::mem::take(&mut self.leftovers) {
            pins::clear(&dir, pins::Keep::Nothing)?;
        }
        self.programs.retire_others()
    }

    /// Leaves everything running and pinned.
    pub fn persist(self) {
        drop(self);
    }

    /// Detaches what translates packets from every interface; guards stay.
    pub fn detach_paths(&mut self) -> Result<(), Error> {
        attach::detach_paths(&self.pins)
    }

    /// Takes the rest down, guards last, and removes every pin.
    pub fn teardown(self) -> Result<(), Error> {
        let Self { pins, programs, tables, hops, lock, .. } = self;
        guard::detach_filters(&pins)?;
        let removed = pins.remove_all();
        drop((programs, tables, hops, lock));
        removed
    }
}

/// Keys and generations: kept when the data plane is `adopted`, and every hop is resolved once more, since nobody watched
/// the neighbours meanwhile.
fn keys(tables: &Tables, hops: &Hops, adoption: &Adoption) -> Result<Keys, Error> {
    let kept = Keys::of(&tables.settings()?).filter(|_| *adoption == Adoption::Adopted);
    if kept.is_some() {
        hops.bump_all();
    } else {
        hops.reset();
    }
    if let Some(kept) = kept {
        return Ok(kept);
    }
    let drawn = Keys::draw()?;
    Ok(Keys { choice: assignment::key(drawn.choice), ..drawn })
}
