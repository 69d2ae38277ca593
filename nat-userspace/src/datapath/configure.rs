//! Map contents: from the desired [`Gateway`] to minimal edits, with no moment without a configuration.

use std::collections::{BTreeMap, BTreeSet};

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use ipnet::Ipv4Net;
use nat_common::abi::map;
use nat_common::eip::{MAX_EIPS, MAX_PREFIXES};
use nat_common::hash::Secret;
use nat_common::hop::Iface;
use nat_common::ports::PortSet;
use nat_common::settings::{PROBE_BUDGET, Settings};
use nat_common::stats::EipStats;
use nat_common::table::{self, HashKey};
use nat_common::timeouts::IdleLimits;
use nat_common::{Addr, Eip, EipState, LpmAddr, PoolRef};

use super::hops::Hops;
use super::memory::Access;
use super::pins::Pins;
use super::{Error, maps};
use crate::control::desired::{Gateway, Pool};

/// Events per CPU and second: enough to notice, too few to hurt.
const EVENT_BUDGET: u32 = 10;

/// The maps that the daemon writes.
pub(super) struct Tables {
    eips: HashMap<MapData, Addr, Eip>,
    pools: LpmTrie<MapData, LpmAddr, PoolRef>,
    members: Array<MapData, Eip>,
    exempt: LpmTrie<MapData, LpmAddr, u32>,
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
}

impl Tables {
    pub(super) fn open(pins: &Pins) -> Result<Self, Error> {
        let data = |name| MapData::from_pin(pins.map(name)).map_err(Error::map("open", name));
        Ok(Self {
            eips: maps::eips(pins)?,
            pools: maps::pools(pins)?,
            members: maps::members(pins)?,
            exempt: maps::exempt(pins)?,
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
        })
    }

    /// Generations and secrets: kept when `adopted`, and every hop re-resolves once, since nobody watched the
    /// neighbours meanwhile.
    pub(super) fn start(&mut self, adopted: bool) -> Result<(), Error> {
        let old = self.settings.get(&0, 0).map_err(Error::map("read", map::SETTINGS))?;
        if adopted && old.hash != HashKey::default() {
            self.hops.bump_all();
            (self.secret, self.hash, self.choice) = (old.secret, old.hash, old.choice);
        } else {
            self.hops.reset();
            self.secret = draw()?;
            (self.hash, self.choice) = (draw()?, draw()?);
            self.hash.multiplier |= 1;
            self.choice.multiplier |= 1;
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
            homes: table::homes(places),
            capacity: table::capacity(places),
            timeouts: IdleLimits::from(&gateway.timeouts),
            probe_budget: PROBE_BUDGET,
            event_budget: EVENT_BUDGET,
            shared_echo: gateway.shared_echo.into(),
            spare: 0,
        };
        self.settings.set(0, settings, 0).map_err(Error::map("write", map::SETTINGS))?;
        let exempt: BTreeMap<_, _> = gateway.exempt.iter().map(|net| (prefix(*net), 1u32)).collect();
        let stale_exempt = add_prefixes(&mut self.exempt, map::EXEMPT, &exempt)?;
        let (eips, stale_eips) = self.add_eips(&gateway.pools)?;
        let pools = self.add_members(&gateway.pools, &eips)?;
        let stale_pools = add_prefixes(&mut self.pools, map::POOLS, &pools)?;
        remove_prefixes(&mut self.pools, map::POOLS, &stale_pools)?;
        remove_prefixes(&mut self.exempt, map::EXEMPT, &stale_exempt)?;
        for addr in stale_eips {
            ignore_missing(self.eips.remove(&addr)).map_err(Error::map("write", map::EIPS))?;
        }
        Ok(())
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
                    spare: [0; 2],
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
    fn add_members(
        &mut self,
        pools: &[Pool],
        lists: &[Vec<Eip>],
    ) -> Result<BTreeMap<Prefix, PoolRef>, Error> {
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
        let mut refs = BTreeMap::new();
        for ((number, pool), list) in (0u32..).zip(pools).zip(lists) {
            let count = list.len() as u32;
            let pool_ref = PoolRef { first, count, pool: number };
            refs.extend(pool.sources.iter().filter(|_| count > 0).map(|net| (prefix(*net), pool_ref)));
            first += count;
        }
        Ok(refs)
    }
}

/// Prefix length and network address in network byte order.
type Prefix = (u32, u32);

fn prefix(net: Ipv4Net) -> Prefix {
    (u32::from(net.prefix_len()), Addr::from(net.network()).be)
}

fn key((length, be): Prefix) -> Key<Addr> {
    Key::new(length, Addr { be })
}

/// Writes the prefixes that are new or changed; returns those that are no longer wanted.
fn add_prefixes<V: aya::Pod + PartialEq>(
    trie: &mut LpmTrie<MapData, Addr, V>,
    name: &'static str,
    wanted: &BTreeMap<Prefix, V>,
) -> Result<Vec<Prefix>, Error> {
    within(wanted.len(), MAX_PREFIXES, "prefixes")?;
    let old: BTreeMap<Prefix, V> = trie
        .iter()
        .map(|r| r.map(|(k, v)| ((k.prefix_len(), k.data().be), v)))
        .collect::<Result<_, _>>()
        .map_err(Error::map("read", name))?;
    for (p, value) in wanted.iter().filter(|(p, v)| old.get(p) != Some(v)) {
        trie.insert(&key(*p), *value, 0).map_err(Error::map("write", name))?;
    }
    Ok(old.into_keys().filter(|p| !wanted.contains_key(p)).collect())
}

fn remove_prefixes<V: aya::Pod>(
    trie: &mut LpmTrie<MapData, Addr, V>,
    name: &'static str,
    stale: &[Prefix],
) -> Result<(), Error> {
    stale.iter().try_for_each(|p| ignore_missing(trie.remove(&key(*p)))).map_err(Error::map("write", name))
}

fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
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
