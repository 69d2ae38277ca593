//! Which neighbours are kept resolved: gateways, and whatever flows are sent to.

use std::collections::BTreeSet;

use aya::maps::{HashMap, MapData};
use nat_common::Addr;
use nat_common::hop::NextHop;

use crate::datapath::maps;
use crate::datapath::pins::Pins;
use crate::net::neighbours::{Keeper, Neighbour};

/// The neighbours of a gateway.
pub(super) struct Neighbours {
    pub(super) keeper: Keeper,
    used: HashMap<MapData, NextHop, u32>,
}

impl Neighbours {
    pub(super) async fn new(pins: &Pins) -> Result<Self, super::Error> {
        Ok(Self { used: maps::nexthops(pins)?, keeper: Keeper::new().await? })
    }

    /// Brings what is kept up to date. What fails is logged: the kernel still resolves on demand.
    pub(super) async fn refresh(&mut self, interfaces: &[u32]) {
        let mut wanted: BTreeSet<Neighbour> = match self.keeper.gateways(interfaces).await {
            Ok(gateways) => gateways,
            Err(e) => {
                tracing::warn!("{e}");
                return;
            }
        };
        // The packet path may evict while we iterate; what is missed now is seen next time.
        let used = self.used.keys().filter_map(Result::ok).filter(|hop| interfaces.contains(&hop.ifindex));
        wanted.extend(used.map(|hop| Neighbour { ifindex: hop.ifindex, addr: hop.addr.into() }));
        for result in [self.keeper.set(&wanted).await, self.keeper.refresh().await] {
            if let Err(e) = result {
                // A neighbour on an interface that is down, mostly.
                tracing::debug!("{e}");
            }
        }
    }

    /// A neighbour that failed is kept again only if flows ask for it again.
    pub(super) fn lost(&mut self, ifindex: u32, addr: Addr) {
        // It need not be there.
        let _ = self.used.remove(&NextHop { ifindex, addr });
    }
}
