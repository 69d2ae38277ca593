//! What a gateway is like at this moment, from its pins and the daemon's record.

use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::time::Duration;

use nat_common::stats::Stats;
use nat_common::{Addr, Eip, HopStamp, Proto, Ticks};

use super::devices;
use super::eips;
use super::faults::{self, FlowsSeen, Seen};
use super::number::float;
use super::stats::StatsView;
use super::uplinks;
use crate::datapath::Error;
use crate::datapath::inspect::Inspect;
use crate::datapath::pins::Pins;
use crate::datapath::{links, lost};
use crate::host::addresses;
use crate::host::condition::Condition;
use crate::host::process;
use crate::host::state::RunState;
use crate::model::interface::{Interface, InterfaceSide};
use crate::model::status::{InterfaceStatus, Rates, Status};

/// Between the two samples that rates are computed from.
pub const SAMPLE: Duration = Duration::from_millis(500);

/// Flows looked at for unresolved hops: enough to notice, few enough to be quick.
const HOPS_LOOKED_AT: u64 = 10_000;

/// Flows of which the answers are looked for. Each is somewhere else in memory.
const ANSWERS_LOOKED_AT: u64 = 1000;

/// A flow that sent something this long ago waits for its answer.
const RECENTLY: Ticks = Ticks::from_ms(10_000);

/// Packets that a flow sent before its silence means something.
const ASKED: u64 = 2;

/// Where a look begins: rates and faults are about what has happened since.
#[derive(Clone, Debug)]
pub struct Since {
    /// Counters then.
    pub first: Stats,
    /// How long ago.
    pub sample: Duration,
}

/// The status, with rates since `since`. `state`: what the daemon recorded, if it did. `host`: the host's condition, if the
/// gateway is in this network namespace. `flows`: what [`flows`] saw.
pub fn look(
    pins: &Pins,
    state: Option<&RunState>,
    inspect: &Inspect,
    since: &Since,
    host: Option<&Condition>,
    flows_seen: FlowsSeen,
) -> Result<Status, Error> {
    let Since { first, sample } = since;
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
        rates: rates(first, &stats, *sample),
        faults: Vec::new(),
    };
    let is_outside = |name: &str| {
        status.interfaces.iter().any(|i| i.recorded.name == name && i.recorded.side != InterfaceSide::Inside)
    };
    // In another namespace, the addresses here say nothing.
    let missing_eips = if here {
        let present = addresses::present().map_err(|e| tracing::warn!("{e}")).ok();
        present.map(|present| eips::missing(&eips, state, &present)).unwrap_or_default()
    } else {
        Vec::new()
    };
    let contested = state.map(|s| s.contested.clone()).filter(|_| pid.is_some()).unwrap_or_default();
    let unguarded = links::unguarded(pins, is_outside)?;
    let losses = devices::losses(inspect, state)?;
    let seen = Seen {
        sample: *sample,
        first,
        last: &stats,
        flows: flows_seen,
        unguarded: &unguarded,
        missing_eips: &missing_eips,
        contested: &contested,
        damage: damage(inspect, &status, state)?,
        counts_losses: lost::is_counted(pins),
        losses: &losses,
        host: host.filter(|_| here),
    };
    status.faults = faults::faults(&status, &seen);
    Ok(status)
}

/// Addresses of the EIPs, for [`Condition::read`].
pub fn addresses(inspect: &Inspect) -> Result<Vec<Ipv4Addr>, Error> {
    Ok(inspect.eips()?.iter().map(|(addr, _)| Ipv4Addr::from(*addr)).collect())
}

/// What the tables lack that packets need.
fn damage(inspect: &Inspect, status: &Status, wanted: Option<&RunState>) -> Result<Option<String>, Error> {
    let known = inspect.interfaces()?;
    for interface in status.interfaces.iter().filter(|i| i.attached) {
        if !known.iter().any(|(_, ifindex)| *ifindex == interface.recorded.ifindex) {
            return Ok(Some(format!("the packet path does not know interface {}", interface.recorded.name)));
        }
    }
    if status.eips.is_empty() && wanted.is_some_and(|state| !state.eips.is_empty()) {
        return Ok(Some("the packet path has no EIP".to_owned()));
    }
    Ok(None)
}

fn rates(first: &Stats, second: &Stats, sample: Duration) -> Rates {
    let seconds = sample.as_secs_f64().max(f64::MIN_POSITIVE);
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

/// What the first flows of the table are like.
pub fn flows(inspect: &Inspect) -> Result<FlowsSeen, Error> {
    let mut seen = FlowsSeen::default();
    inspect.flows(&mut |flow, back| {
        seen.looked_at += 1;
        seen.unresolved += u64::from(flow.out.hop == HopStamp::UNRESOLVED);
        // UDP may go one way for good.
        let is_asking =
            flow.proto != Proto::Udp && flow.out.packets >= ASKED && flow.out.last.age(flow.now) < RECENTLY;
        if is_asking && seen.asking < ANSWERS_LOOKED_AT {
            seen.asking += 1;
            seen.answered += u64::from(back().is_none_or(|back| back.packets > 0));
        }
        if seen.looked_at < HOPS_LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(seen)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn rates_are_per_second() {
        let (first, mut second) = (Stats::zeroed(), Stats::zeroed());
        (second.packets[1], second.bytes[3], second.births[0]) = (50, 500, 5);
        let rates = rates(&first, &second, SAMPLE);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            near(rates.packets_out, 100.0) && near(rates.bytes_in, 1000.0) && near(rates.new_flows, 10.0)
        );
    }
}
