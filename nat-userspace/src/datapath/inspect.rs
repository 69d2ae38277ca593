//! Reading a gateway's maps through its pins, with or without a daemon.

use std::ops::ControlFlow;

use nat_common::abi::map;
use nat_common::eip::ReservedPort;
use nat_common::lost::Lost;
use nat_common::settings::Settings;
use nat_common::stats::{EipStats, Stats};
use nat_common::{Addr, Eip, FlowEntry, Proto, Stamp, Tuple};

use super::error::Error;
use super::hops::Hops;
use super::maps;
use super::memory::Access;
use super::pins::Pins;
use super::reap::Reaper;
use super::table::Table;

/// One conversation, as its outbound half shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// Protocol.
    pub proto: Proto,
    /// The tuple as it arrives from inside.
    pub key: Tuple,
    /// The outbound direction.
    pub out: FlowEntry,
    /// When the flow was read.
    pub now: Stamp,
}

/// Reads a flow's inbound half, which is far away in the table: most questions do without. `None` only while the flow
/// is being created or deleted.
pub type Back<'a> = &'a dyn Fn() -> Option<FlowEntry>;

/// Flows that are read before the clock is looked at again: less than a tick of it.
const PER_TICK: usize = 1024;

/// A read-only view of a gateway.
pub struct Inspect {
    pins: Pins,
    table: Table,
}

impl Inspect {
    /// Opens the pins; [`Error::NotUp`] when there are none.
    pub fn open(pins: &Pins) -> Result<Self, Error> {
        Ok(Self { pins: pins.clone(), table: Table::open(pins)? })
    }

    /// Calls `visit` with every flow until it breaks. Memory use does not depend on the number of flows.
    pub fn flows(&self, visit: &mut dyn FnMut(&Flow, Back<'_>) -> ControlFlow<()>) -> Result<(), Error> {
        let whole = self.table.view()?;
        let mut time = now();
        for (number, out) in whole.entries().filter(FlowEntry::is_outbound).enumerate() {
            if number.is_multiple_of(PER_TICK) {
                time = now();
            }
            let key = out.tuple();
            let Some(proto) = Proto::from_number(key.proto) else { continue };
            let flow = Flow { proto, key, out, now: time };
            let back = || self.table.entry_in(&whole, &out.pair_key(&key));
            if visit(&flow, &back).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The flow table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// Flows that the table holds.
    pub fn capacity(&self) -> u32 {
        self.table.capacity()
    }

    /// Counters, summed over CPUs.
    pub fn stats(&self) -> Result<Stats, Error> {
        let per_cpu = maps::stats(&self.pins)?.get(&0, 0).map_err(Error::map("read", map::STATS))?;
        Ok(Stats::sum(per_cpu.iter()))
    }

    /// What was lost on its way out of interfaces, summed over CPUs, by ifindex. Interfaces that lost nothing are left out.
    pub fn lost(&self) -> Result<Vec<(u32, Lost)>, Error> {
        let lost = maps::lost(&self.pins)?;
        let mut found = Vec::new();
        for (number, ifindex) in self.interfaces()? {
            let per_cpu = lost.get(&u32::from(number), 0).map_err(Error::map("read", map::LOST))?;
            let sum = Lost::sum(per_cpu.iter());
            if sum.total() > 0 {
                found.push((ifindex, sum));
            }
        }
        Ok(found)
    }

    /// The EIPs with their counters summed over CPUs, by address.
    pub fn eip_stats(&self) -> Result<Vec<(Addr, Eip, EipStats)>, Error> {
        let stats = maps::eip_stats(&self.pins)?;
        self.eips()?
            .into_iter()
            .map(|(addr, eip)| {
                let per_cpu = stats.get(&eip.slot, 0).map_err(Error::map("read", map::EIP_STATS))?;
                let mut sum = EipStats::default();
                for cpu in per_cpu.iter() {
                    for p in 0..Proto::ALL.len() {
                        sum.port_allocation_errors[p] += cpu.port_allocation_errors[p];
                        sum.births[p] += cpu.births[p];
                    }
                }
                Ok((addr, eip, sum))
            })
            .collect()
    }

    /// The EIPs, by address.
    pub fn eips(&self) -> Result<Vec<(Addr, Eip)>, Error> {
        let mut eips = maps::eips(&self.pins)?
            .iter()
            .collect::<Result<Vec<_>, _>>()
            .map_err(Error::map("read", map::EIPS))?;
        eips.sort_by_key(|(a, _)| a.host());
        Ok(eips)
    }

    /// Managed interfaces: each place in the devmap that has one, and the interface's index.
    pub fn interfaces(&self) -> Result<Vec<(u16, u32)>, Error> {
        let indices = maps::ifindex(&self.pins)?;
        let all: Vec<u32> =
            indices.iter().collect::<Result<_, _>>().map_err(Error::map("read", map::IFINDEX))?;
        Ok((0..).zip(all).filter(|(_, index)| *index != 0).collect())
    }

    /// The next hops.
    pub fn hops(&self) -> Result<Hops, Error> {
        Hops::open(&self.pins, Access::Read)
    }

    /// The keys of the ports that are never claimed: bits that count, and ports.
    pub fn reserved(&self) -> Result<Vec<(u32, ReservedPort)>, Error> {
        let keys = maps::reserved(&self.pins)?.keys().collect::<Result<Vec<_>, _>>();
        let keys = keys.map_err(Error::map("read", map::RESERVED))?;
        Ok(keys.iter().map(|key| (key.prefix_len(), key.data())).collect())
    }

    /// The settings in force.
    pub fn settings(&self) -> Result<Settings, Error> {
        maps::settings(&self.pins)?.get(&0, 0).map_err(Error::map("read", map::SETTINGS))
    }

    /// Flows alive or not yet collected, by protocol.
    pub fn flow_counts(&self) -> Result<[u64; 3], Error> {
        let stats = self.stats()?;
        Ok(Proto::ALL.map(|proto| alive(&stats, proto)))
    }

    /// The reaper, to run it.
    pub fn reaper(&self) -> Result<Reaper, Error> {
        Reaper::open(&self.pins)
    }
}

/// Flows of a protocol in the table: births less deaths. Per-CPU counters are not read at one instant, so a death may be
/// seen before its birth.
pub fn alive(stats: &Stats, proto: Proto) -> u64 {
    stats.births[proto.index()].saturating_sub(stats.deaths[proto.index()])
}

/// The packet path's clock.
pub fn now() -> Stamp {
    use nix::time::{ClockId, clock_gettime};
    // The clock exists since Linux 2.6.32, so this does not fail.
    let t = clock_gettime(ClockId::CLOCK_MONOTONIC_COARSE).map_or(0, |t| {
        let seconds = u64::try_from(t.tv_sec()).unwrap_or(0);
        seconds * 1_000_000_000 + u64::try_from(t.tv_nsec()).unwrap_or(0)
    });
    Stamp::from_ns(t)
}
