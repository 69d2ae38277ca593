//! Map contents: from the desired [`Gateway`] to minimal edits, with no moment without a configuration.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use ipnet::Ipv4Net;
use nat_common::abi::map;
use nat_common::eip::{MAX_EIPS, MAX_PREFIXES, MAX_RESERVED, MAX_ROUTE_MTUS, ReservedPort};
use nat_common::hash::Secret;
use nat_common::hop::Iface;
use nat_common::ports::PortSet;
use nat_common::settings::{PROBE_BUDGET, Settings};
use nat_common::stats::EipStats;
use nat_common::table::{self, HashKey};
use nat_common::timeouts::IdleLimits;
use nat_common::{Addr, Eip, EipState, LpmAddr, PoolRef, Port};

use super::error::Error;
use super::hops::Hops;
use super::maps;
use super::memory::Access;
use super::pins::Pins;
use super::tries::{self, Prefix, Wanted};
use crate::model::gateway::{Gateway, Pool};
use crate::model::ports::blocks;

/// Events per CPU and second: enough to notice, too few to hurt.
const EVENT_BUDGET: u32 = 10;

/// The maps that the daemon writes.
pub(super) struct Tables {
    eips: HashMap<MapData, Addr, Eip>,
    pools: LpmTrie<MapData, LpmAddr, PoolRef>,
    members: Array<MapData, Eip>,
    exempt: LpmTrie<MapData, LpmAddr, u32>,
    reserved: LpmTrie<MapData, ReservedPort, u32>,
    route_mtu: LpmTrie<MapData, LpmAddr, u32>,
    flows: MapData,
    pub(super) hops: Hops,
    settings: Array<MapData, Settings>,
    eip_stats: PerCpuArray<MapData, EipStats>,
    pub(super) ifaces: HashMap<MapData, u32, Iface>,
    pub(super) devices: aya::maps::xdp::DevMap<MapData>,
    pub(super) devices_raw: MapData,
    pub(super) ifaces_raw: MapData,
    pub(super) ifindex: Array<MapData, u32>,
    secret: Secret,
    hash: HashKey,
    choice: HashKey,
    pub(super) placing: HashKey,
    handover_mac: [u8; 8],
}

impl Tables {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let data = |name| MapData::from_pin(pins.map(name)).map_err(Error::map("open", name));
        Ok(Self {
            eips: maps::eips(pins)?,
            pools: maps::pools(pins)?,
            members: maps::members(pins)?,
            exempt: maps::exempt(pins)?,
            reserved: maps::reserved(pins)?,
            route_mtu: maps::route_mtu(pins)?,
            flows: data(map::FLOWS)?,
            hops: Hops::open(pins, Access::Write)?,
            settings: maps::settings(pins)?,
            eip_stats: maps::eip_stats(pins)?,
            ifaces: maps::ifaces(pins)?,
            devices: maps::devices(pins)?,
            devices_raw: data(map::DEVICES)?,
            ifaces_raw: data(map::IFACES)?,
            ifindex: maps::ifindex(pins)?,
            secret: Secret::default(),
            hash: HashKey::default(),
            choice: HashKey::default(),
            placing: HashKey::default(),
            handover_mac: [0; 8],
        })
    }

    /// Generations and secrets: kept when `adopted`, and every hop re-resolves once, since nobody watched the
    /// neighbours meanwhile.
    pub(super) fn start(&mut self, adopted: bool) -> Result<(), Error> {
        let old = self.settings.get(&0, 0).map_err(Error::map("read", map::SETTINGS))?;
        if adopted && old.hash != HashKey::default() {
            self.hops.bump_all();
            (self.secret, self.hash, self.choice) = (old.secret, old.hash, old.choice);
            (self.placing, self.handover_mac) = (old.placing, old.handover_mac);
        } else {
            self.hops.reset();
            self.secret = draw()?;
            (self.hash, self.choice, self.placing) = (draw()?, draw()?, draw()?);
            self.handover_mac = draw()?;
            // Of one station, and locally administered (IEEE 802, 8.2): no device has it.
            self.handover_mac[0] = self.handover_mac[0] & 0xfc | 0x02;
            for key in [&mut self.hash, &mut self.choice, &mut self.placing] {
                key.multiplier |= 1;
            }
        }
        Ok(())
    }

    /// Additions before removals, and what is referred to before what refers to it.
    pub(super) fn configure(&mut self, gateway: &Gateway) -> Result<(), Error> {
        let places = self.flows.info().map_err(Error::map("inspect", map::FLOWS))?.max_entries();
        let settings = Settings {
            secret: self.secret,
            hash: self.hash,
            choice: self.choice,
            placing: self.placing,
            handover_mac: self.handover_mac,
            homes: table::homes(places),
            capacity: table::capacity(places),
            timeouts: IdleLimits::from(&gateway.timeouts),
            probe_budget: PROBE_BUDGET,
            event_budget: EVENT_BUDGET,
            shared_echo: gateway.shared_echo.into(),
            answers_per_second: gateway.answers_per_second,
        };
        self.settings.set(0, settings, 0).map_err(Error::map("write", map::SETTINGS))?;
        let exempt = gateway.exempt.iter().map(|net| (prefix(*net), 1)).collect();
        let stale_exempt = tries::add(&mut self.exempt, map::EXEMPT, MAX_PREFIXES, &exempt)?;
        let reserved = reserved(&gateway.pools);
        let stale_reserved = tries::add(&mut self.reserved, map::RESERVED, MAX_RESERVED, &reserved)?;
        let (eips, stale_eips) = self.add_eips(&gateway.pools)?;
        let pools = self.add_members(&gateway.pools, &eips)?;
        let stale_pools = tries::add(&mut self.pools, map::POOLS, MAX_PREFIXES, &pools)?;
        tries::remove(&mut self.pools, map::POOLS, &stale_pools)?;
        tries::remove(&mut self.exempt, map::EXEMPT, &stale_exempt)?;
        tries::remove(&mut self.reserved, map::RESERVED, &stale_reserved)?;
        for addr in stale_eips {
            tries::ignore_missing(self.eips.remove(&addr)).map_err(Error::map("write", map::EIPS))?;
        }
        Ok(())
    }

    /// The MTUs of routes; whether any is another now, and hops are to be resolved again.
    pub(super) fn set_route_mtus(&mut self, mtus: &BTreeMap<Ipv4Net, u32>) -> Result<bool, Error> {
        let wanted = mtus.iter().map(|(net, mtu)| (prefix(*net), *mtu)).collect();
        tries::replace(&mut self.route_mtu, map::ROUTE_MTU, MAX_ROUTE_MTUS, &wanted)
    }

    /// Writes the EIPs that are new or changed; returns those of each pool, and which are no longer wanted. An EIP that
    /// stays keeps its counter slot.
    fn add_eips(&mut self, pools: &[Pool]) -> Result<(Vec<Vec<Eip>>, Vec<Addr>), Error> {
        let old: BTreeMap<u32, Eip> = self
            .eips
            .iter()
            .map(|r| r.map(|(a, e)| (a.host(), e)))
            .collect::<Result<_, _>>()
            .map_err(Error::map("read", map::EIPS))?;
        let count = pools.iter().map(|p| p.eips.len()).sum::<usize>();
        within(count, MAX_EIPS, "EIPs")?;
        let mut taken: BTreeSet<u32> = old.values().map(|e| e.slot).collect();
        let mut wanted = BTreeSet::new();
        let mut lists = Vec::new();
        for (number, pool) in (0u32..).zip(pools) {
            let mut list = Vec::new();
            for desired in &pool.eips {
                let addr = Addr::from(desired.addr);
                wanted.insert(addr.host());
                let before = old.get(&addr.host());
                let slot = match before {
                    Some(eip) => eip.slot,
                    None => self.free_slot(&mut taken)?,
                };
                let (first, last) = pool.ports;
                let eip = Eip {
                    addr,
                    // Validated before; an EIP without ports takes no flows.
                    ports: PortSet::new(first, last, desired.host_ports).unwrap_or_default(),
                    slot,
                    pool: number,
                    state: EipState::Active as u8,
                    shared: desired.host_ports.is_some().into(),
                    reserves: (!desired.reserved.is_empty()).into(),
                    spare: 0,
                };
                if before != Some(&eip) {
                    self.eips.insert(addr, eip, 0).map_err(Error::map("write", map::EIPS))?;
                }
                list.push(eip);
            }
            lists.push(list);
        }
        let stale = old.keys().filter(|a| !wanted.contains(a)).map(|a| Addr { be: a.to_be() });
        Ok((lists, stale.collect()))
    }

    /// The lowest counter slot nobody has, its counters at zero.
    fn free_slot(&mut self, taken: &mut BTreeSet<u32>) -> Result<u32, Error> {
        let slot = (0..MAX_EIPS).find(|s| !taken.contains(s)).ok_or(Error::TooMany {
            what: "EIPs, old and new ones,",
            count: taken.len() + 1,
            limit: MAX_EIPS,
        })?;
        taken.insert(slot);
        let old = self.eip_stats.get(&slot, 0).map_err(Error::map("read", map::EIP_STATS))?;
        let zeros = PerCpuValues::try_from(vec![EipStats::default(); old.len()])
            .map_err(|e| Error::map("write", map::EIP_STATS)(MapError::IoError(e)))?;
        self.eip_stats.set(slot, zeros, 0).map_err(Error::map("write", map::EIP_STATS))?;
        Ok(slot)
    }

    /// Writes the pools' members and returns the prefixes that refer to them.
    ///
    /// Changed members go where no current prefix refers to, so that a packet in between sees the old pools
    /// or the new ones. Only when both do not fit are they written over each other.
    fn add_members(&mut self, pools: &[Pool], lists: &[Vec<Eip>]) -> Result<Wanted<Addr, PoolRef>, Error> {
        let read = |m: &Array<MapData, Eip>, i: u32| m.get(&i, 0).map_err(Error::map("read", map::MEMBERS));
        let current: Vec<PoolRef> = self
            .pools
            .iter()
            .map(|r| r.map(|(_, p)| p))
            .collect::<Result<_, _>>()
            .map_err(Error::map("read", map::POOLS))?;
        let total: usize = lists.iter().map(Vec::len).sum();
        within(total, MAX_EIPS, "EIPs")?;
        let total = total as u32;
        let flat: Vec<Eip> = lists.concat();
        let lowest = current.iter().map(|p| p.first).min().unwrap_or(0);
        let highest = current.iter().map(|p| p.first + p.count).max().unwrap_or(0);
        let in_place = lowest + total <= MAX_EIPS
            && (lowest..)
                .zip(&flat)
                .try_fold(true, |same, (i, a)| Ok::<_, Error>(same && read(&self.members, i)? == *a))?;
        let start = if in_place {
            lowest
        } else if total <= lowest || highest + total > MAX_EIPS {
            0
        } else {
            highest
        };
        if !in_place {
            for (i, eip) in (start..).zip(&flat) {
                self.members.set(i, *eip, 0).map_err(Error::map("write", map::MEMBERS))?;
            }
        }
        let mut first = start;
        let mut refs = Wanted::new();
        for ((number, pool), list) in (0u32..).zip(pools).zip(lists) {
            let count = list.len() as u32;
            let pool_ref = PoolRef { first, count, pool: number };
            refs.extend(pool.sources.iter().filter(|_| count > 0).map(|net| (prefix(*net), pool_ref)));
            first += count;
        }
        Ok(refs)
    }
}

fn prefix(net: Ipv4Net) -> Prefix<Addr> {
    (u32::from(net.prefix_len()), Addr::from(net.network()))
}

/// The keys of `RESERVED`.
fn reserved(pools: &[Pool]) -> Wanted<ReservedPort, u32> {
    let mut keys = Wanted::new();
    for eip in pools.iter().flat_map(|p| &p.eips) {
        for range in &eip.reserved {
            for block in blocks(range.ports.first, range.ports.last) {
                let port = ReservedPort {
                    addr: Addr::from(eip.addr),
                    proto: range.proto as u8,
                    spare: 0,
                    port: Port::new(block.first),
                };
                keys.insert((ReservedPort::BITS - 16 + u32::from(block.bits), port), 1);
            }
        }
    }
    keys
}

fn within(count: usize, limit: u32, what: &'static str) -> Result<(), Error> {
    if count > limit as usize { Err(Error::TooMany { what, count, limit }) } else { Ok(()) }
}

/// Random bytes.
fn draw<T: bytemuck::Pod>() -> Result<T, Error> {
    let mut drawn = T::zeroed();
    let bytes = bytemuck::bytes_of_mut(&mut drawn);
    // SAFETY: the buffer is writable for its whole length.
    let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if usize::try_from(got).ok() == Some(bytes.len()) {
        Ok(drawn)
    } else {
        Err(Error::Random(std::io::Error::last_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::gateway::DesiredEip;

    #[test]
    fn keys_of_reserved_ports_have_address_and_protocol_whole_and_the_port_as_far_as_its_block() {
        let eip = DesiredEip {
            addr: [203, 0, 113, 10].into(),
            host_ports: None,
            reserved: ["udp/4789", "tcp/5000-5009"].map(|r| r.parse().unwrap()).to_vec(),
        };
        let pool = Pool { name: "a".into(), eips: vec![eip], sources: vec![], ports: (1024, 65535) };
        let keys = reserved(&[pool]);
        let mut bytes: Vec<(u32, [u8; 8])> =
            keys.keys().map(|(bits, port)| (*bits, bytemuck::cast(*port))).collect();
        bytes.sort_unstable();
        let key = |proto, port: u16| {
            let [high, low] = port.to_be_bytes();
            [203, 0, 113, 10, proto, 0, high, low]
        };
        assert_eq!(bytes, [(61, key(6, 5000)), (63, key(6, 5008)), (64, key(17, 4789))]);
    }
}
