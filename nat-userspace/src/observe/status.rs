//! What a gateway is like at this moment, from its pins and the daemon's record.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::Duration;

use nat_common::stats::Stats;
use nat_common::{Addr, Eip, HopStamp};

use super::faults::{self, Seen};
use super::number::float;
use super::stats::StatsView;
use super::uplinks;
use crate::datapath::Error;
use crate::datapath::inspect::Inspect;
use crate::datapath::links;
use crate::datapath::pins::Pins;
use crate::host::process;
use crate::host::state::RunState;
use crate::model::interface::{Interface, InterfaceSide};
use crate::model::status::{InterfaceStatus, Rates, Status};

/// Between the two samples that rates are computed from.
pub const SAMPLE: Duration = Duration::from_millis(500);

/// Flows looked at for unresolved hops: enough to notice, few enough to be quick.
const HOPS_LOOKED_AT: u64 = 10_000;

/// The status, with rates since `first`, which was read [`SAMPLE`] ago. `state`: what the daemon recorded, if it did.
pub fn look(
    pins: &Pins,
    state: Option<&RunState>,
    inspect: &Inspect,
    first: &Stats,
) -> Result<Status, Error> {
    let stats = inspect.stats()?;
    let attached = links::attached(pins)?;
    let pid = state.map(|s| s.pid).filter(|pid| process::is_natgw(*pid));
    let recorded = state.map(|s| s.interfaces.clone()).unwrap_or_default();
    let here = state.is_none_or(|s| s.is_of_this_namespace().unwrap_or(true));
    // In another namespace than its own, the gateway's record is all that there is to know of an interface.
    let exists = |i: &Interface| {
        if here { nix::net::if_::if_nametoindex(i.name.as_str()).is_ok() } else { !i.missing }
    };
    let eips = inspect.eips()?;
    let link = |(addr, eip): &(Addr, Eip)| Some((Ipv4Addr::from(*addr), uplinks::name(eip, &recorded)?));
    let eip_links = eips.iter().filter_map(link).collect();
    let interfaces = recorded.into_iter().map(|r| InterfaceStatus::new(r, &attached, exists)).collect();
    let flows = StatsView::new(&stats, inspect.capacity()).flows;
    let mut status = Status {
        up: !attached.is_empty(),
        pid,
        started: state.map(|s| s.started),
        version: state.map(|s| s.version.clone()),
        persist: state.is_some_and(|s| s.persist),
        in_this_namespace: here,
        interfaces,
        eips: eips.iter().map(|(addr, _)| Ipv4Addr::from(*addr)).collect(),
        eip_links,
        flows,
        rates: rates(first, &stats),
        faults: Vec::new(),
    };
    let is_outside = |name: &str| {
        status.interfaces.iter().any(|i| i.recorded.name == name && i.recorded.side != InterfaceSide::Inside)
    };
    let unguarded = links::unguarded(pins, is_outside)?;
    let seen =
        Seen { sample: SAMPLE, first, last: &stats, unresolved: unresolved(inspect)?, unguarded: &unguarded };
    status.faults = faults::faults(&status, &seen);
    Ok(status)
}

fn rates(first: &Stats, second: &Stats) -> Rates {
    let seconds = SAMPLE.as_secs_f64();
    let delta = |now: u64, then: u64| float(now.saturating_sub(then)) / seconds;
    let sum = |values: &[u64]| values.iter().sum::<u64>();
    Rates {
        packets_out: delta(second.packets[1], first.packets[1]),
        packets_in: delta(second.packets[3], first.packets[3]),
        bytes_out: delta(second.bytes[1], first.bytes[1]),
        bytes_in: delta(second.bytes[3], first.bytes[3]),
        new_flows: delta(sum(&second.births), sum(&first.births)),
        drops: delta(sum(&second.drops), sum(&first.drops)),
    }
}

/// How many of the first flows wait for a next hop, and how many were looked at.
fn unresolved(inspect: &Inspect) -> Result<(u64, u64), Error> {
    let (mut waiting, mut seen) = (0, 0);
    inspect.flows(&mut |flow, _| {
        seen += 1;
        waiting += u64::from(flow.out.hop == HopStamp::UNRESOLVED);
        if seen < HOPS_LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((waiting, seen))
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn rates_are_per_second() {
        let (first, mut second) = (Stats::zeroed(), Stats::zeroed());
        (second.packets[1], second.bytes[3], second.births[0]) = (50, 500, 5);
        let rates = rates(&first, &second);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            near(rates.packets_out, 100.0) && near(rates.bytes_in, 1000.0) && near(rates.new_flows, 10.0)
        );
    }
}
