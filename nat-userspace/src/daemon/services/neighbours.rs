//! Which neighbours are kept resolved: gateways, and whatever flows are sent to, up to a number.

use std::cell::Cell;
use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::rc::Rc;

use aya::maps::MapData;
use nat_common::abi::map;
use nat_common::hop::NextHop;
use nat_common::{Addr, Stamp};
use tokio::time::Instant;

use super::episode::Episode;
use crate::datapath::batch::Reader;
use crate::datapath::pins::Pins;
use crate::datapath::{inspect, maps};
use crate::host::neighbours::{Keeper, Neighbour};
use crate::host::roster::{self, Noted};
use crate::observe::metrics::HostCounts;

/// Changes of the kernel's table in one go, each of which is two or three requests. What is left waits for the next.
const CHANGES: usize = 128;

/// The neighbours of a gateway.
pub(crate) struct Neighbours {
    pub(crate) keeper: Keeper,
    used: MapData,
    gateways: BTreeSet<Neighbour>,
    /// Interfaces for which the gateways were read.
    read_for: Vec<u32>,
    /// Routes may have changed since.
    routes_changed: bool,
    crowded: Episode,
    counts: Rc<Cell<HostCounts>>,
}

impl Neighbours {
    pub(crate) async fn new(pins: &Pins) -> Result<Self, crate::daemon::error::Error> {
        Ok(Self {
            used: maps::nexthops(pins)?,
            keeper: Keeper::new().await?,
            gateways: BTreeSet::new(),
            read_for: Vec::new(),
            routes_changed: true,
            crowded: Episode::default(),
            counts: Rc::default(),
        })
    }

    /// What metrics report.
    pub(crate) fn counts(&self) -> Rc<Cell<HostCounts>> {
        Rc::clone(&self.counts)
    }

    /// Routes, links or addresses changed: the gateways are read again before they are used.
    pub(crate) fn routes_changed(&mut self) {
        self.routes_changed = true;
    }

    /// The kernel reported more than its socket holds.
    pub(crate) fn overrun(&mut self) {
        let counts = self.counts.get();
        self.counts.set(HostCounts { overruns: counts.overruns + 1, ..counts });
        self.routes_changed = true;
    }

    /// Ethernet addresses of all neighbours that the kernel would send to.
    pub(crate) async fn usable(
        &self,
    ) -> Result<HashMap<(u32, Ipv4Addr), [u8; 6]>, crate::daemon::error::Error> {
        Ok(self.keeper.usable().await?)
    }

    /// Brings what is kept up to date. What fails is logged: the kernel still resolves on demand.
    pub(crate) async fn refresh(&mut self, interfaces: &[u32]) {
        if self.routes_changed || self.read_for != interfaces {
            match self.keeper.gateways(interfaces).await {
                Ok(gateways) => self.gateways = gateways,
                Err(e) => {
                    tracing::warn!("{e}");
                    return;
                }
            }
            self.routes_changed = false;
            interfaces.clone_into(&mut self.read_for);
        }
        let noted = match self.noted(interfaces) {
            Ok(noted) => noted,
            Err(e) => {
                tracing::warn!("{e}");
                return;
            }
        };
        let cap = roster::cap();
        let roster = roster::choose(self.keeper.kept(), &self.gateways, &noted, cap);
        let refused = roster.refused as u64;
        if refused > 0 && self.crowded.begins(Instant::now()) {
            tracing::warn!(
                refused,
                cap,
                "more neighbours are in use than natgw keeps resolved: for those noted first, a packet now and then waits \
                 for ARP; if these are genuine hosts, raise net.ipv4.neigh.default.gc_thresh3"
            );
        }
        for result in [self.keeper.approach(&roster, CHANGES).await, self.keeper.refresh(CHANGES).await] {
            if let Err(e) = result {
                // A neighbour on an interface that is down, mostly.
                tracing::debug!("{e}");
            }
        }
        let kept = self.keeper.kept().len() as u64;
        self.counts.set(HostCounts { kept, refused, ..self.counts.get() });
    }

    /// What the packet path noted on these interfaces. It may evict meanwhile; what is missed now is seen next time.
    fn noted(&self, interfaces: &[u32]) -> Result<Vec<Noted>, crate::datapath::Error> {
        let now = inspect::now();
        let mut noted = Vec::new();
        let mut reader: Reader<'_, NextHop, Stamp> = Reader::new(&self.used, map::NEXTHOPS)?;
        while let Some(batch) = reader.next_batch()? {
            noted.extend(batch.filter(|(hop, _)| interfaces.contains(&hop.ifindex)).map(|(hop, stamp)| {
                Noted {
                    neighbour: Neighbour { ifindex: hop.ifindex, addr: hop.addr.into() },
                    age_ms: u32::try_from(stamp.age(now).ms()).unwrap_or(u32::MAX),
                }
            }));
        }
        Ok(noted)
    }

    /// A neighbour that failed is kept again only if flows ask for it again.
    pub(crate) fn lost(&mut self, ifindex: u32, addr: Addr) {
        // It need not be there.
        let _ = maps::forget(&self.used, &NextHop { ifindex, addr });
    }
}
