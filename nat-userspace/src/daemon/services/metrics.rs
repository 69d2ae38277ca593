//! What a metrics scrape reports: counters from the maps at that moment, port use from the last collection.

use std::cell::Cell;
use std::rc::Rc;

use nat_common::stats::Stats;
use tokio::sync::watch;

use crate::daemon::services::collector::Usage;
use crate::daemon::services::health::Found;
use crate::datapath::Error;
use crate::datapath::inspect::Inspect;
use crate::datapath::pins::Pins;
use crate::observe::metrics::{EipSnapshot, HostCounts, Snapshot};
use crate::observe::ports::claimable;

/// Packets that a scrape has shown as sent. A packet is counted as sent before it is known to be lost, so between two readings
/// the count may fall by a few; shown to a scraper, that would be the start of a new counter.
#[derive(Debug, Default)]
pub(crate) struct Shown(Cell<[u64; 4]>);

impl Shown {
    fn rise(&self, stats: &mut Stats) {
        let before = self.0.get();
        for (now, before) in stats.packets.iter_mut().zip(before) {
            *now = before.max(*now);
        }
        self.0.set(stats.packets);
    }
}

pub(crate) fn read(
    pins: &Pins,
    usage: &watch::Receiver<Rc<Usage>>,
    host: HostCounts,
    found: &watch::Receiver<Found>,
    shown: &Shown,
) -> Result<Snapshot, Error> {
    let inspect = Inspect::open(pins)?;
    let usage = usage.borrow().clone();
    let eips = inspect.eip_stats()?;
    // Most gateways reserve nothing; the map may be long.
    let is_reserving = eips.iter().any(|(_, eip, _)| eip.reserves != 0);
    let reserved = if is_reserving { inspect.reserved()? } else { Vec::new() };
    let eips = eips
        .into_iter()
        .map(|(addr, eip, stats)| EipSnapshot {
            addr: addr.into(),
            ports: claimable(&eip, &reserved),
            in_use: usage.ports.ports(addr.into()),
            errors: stats.port_allocation_errors,
        })
        .collect();
    let mut stats = inspect.stats()?;
    shown.rise(&mut stats);
    Ok(Snapshot {
        stats,
        capacity: inspect.capacity(),
        eips,
        destinations: usage.destinations.clone(),
        host,
        faults: found.borrow().to_vec(),
    })
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn what_a_scrape_has_seen_as_sent_never_becomes_less() {
        let (shown, mut stats) = (Shown::default(), Stats::zeroed());
        for (read, seen) in [(10, 10), (7, 10), (12, 12)] {
            stats.packets = [read; 4];
            shown.rise(&mut stats);
            assert_eq!(stats.packets, [seen; 4]);
        }
    }
}
