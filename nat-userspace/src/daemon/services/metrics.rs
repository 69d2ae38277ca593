//! What a metrics scrape reports: counters from the maps at that moment, port use from the last collection.

use std::rc::Rc;

use tokio::sync::watch;

use crate::daemon::services::collector::Usage;
use crate::datapath::Error;
use crate::datapath::inspect::Inspect;
use crate::datapath::pins::Pins;
use crate::observe::metrics::{EipSnapshot, HostCounts, Snapshot};
use crate::observe::ports::claimable;

pub(crate) fn read(
    pins: &Pins,
    usage: &watch::Receiver<Rc<Usage>>,
    host: HostCounts,
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
    Ok(Snapshot {
        stats: inspect.stats()?,
        capacity: inspect.capacity(),
        eips,
        destinations: usage.destinations.clone(),
        host,
    })
}
