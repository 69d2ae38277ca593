//! The maps that the daemon writes, opened: reads what they hold and makes the changes that [`super::plan`] asks for.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, MapData, MapError, PerCpuArray, PerCpuValues};
use nat_common::abi::map;
use nat_common::eip::{MAX_CHOICES, ReservedPort};
use nat_common::hop::{Iface, MAX_INTERFACES};
use nat_common::settings::Settings;
use nat_common::stats::EipStats;
use nat_common::{Addr, Eip, LpmAddr, PoolRef};
use nix::net::if_::if_indextoname;

use super::contents::{Contents, Edit, Interfaces, Prefix, Trie};
use super::plan;
use crate::datapath::error::Error;
use crate::datapath::maps::{self, Source};
use crate::datapath::memory::{Access, Mapping};
use crate::datapath::sys;

/// The maps that the daemon writes.
pub struct Tables {
    settings: Array<MapData, Settings>,
    exempt: LpmTrie<MapData, LpmAddr, u32>,
    reserved: LpmTrie<MapData, ReservedPort, u32>,
    eips: HashMap<MapData, Addr, Eip>,
    eip_stats: PerCpuArray<MapData, EipStats>,
    members: Array<MapData, Eip>,
    pools: LpmTrie<MapData, LpmAddr, PoolRef>,
    choices: Mapping,
    route_mtu: LpmTrie<MapData, LpmAddr, u32>,
    ifaces: HashMap<MapData, u32, Iface>,
    ifaces_raw: MapData,
    devices: DevMap<MapData>,
    devices_raw: MapData,
    ifindex: Array<MapData, u32>,
}

impl Tables {
    /// Opens them.
    pub fn open(source: &impl Source) -> Result<Self, Error> {
        Ok(Self {
            settings: maps::settings(source)?,
            exempt: maps::exempt(source)?,
            reserved: maps::reserved(source)?,
            eips: maps::eips(source)?,
            eip_stats: maps::eip_stats(source)?,
            members: maps::members(source)?,
            pools: maps::pools(source)?,
            choices: Mapping::new(
                &maps::choices(source)?,
                map::CHOICES,
                size_of::<u64>(),
                0..MAX_CHOICES,
                Access::Write,
            )?,
            route_mtu: maps::route_mtu(source)?,
            ifaces: maps::ifaces(source)?,
            ifaces_raw: source.data(map::IFACES)?,
            devices: maps::devices(source)?,
            devices_raw: source.data(map::DEVICES)?,
            ifindex: maps::ifindex(source)?,
        })
    }

    /// What a configuration has become.
    pub fn contents(&self) -> Result<Contents, Error> {
        let eips = self.eips.iter().collect::<Result<_, _>>().map_err(Error::map("read", map::EIPS))?;
        let pools = held(&self.pools, map::POOLS)?;
        let places = pools.values().flat_map(|pool: &PoolRef| pool.first..pool.first + u32::from(pool.count));
        let member = |place| Ok((place, self.members.get(&place, 0)?));
        let members =
            places.map(member).collect::<Result<_, _>>().map_err(Error::map("read", map::MEMBERS))?;
        let choices = self.choices(&pools);
        Ok(Contents {
            choices,
            settings: self.settings()?,
            exempt: held(&self.exempt, map::EXEMPT)?,
            reserved: held(&self.reserved, map::RESERVED)?,
            eips,
            members,
            pools,
        })
    }

    fn choices(&self, pools: &Trie<Addr, PoolRef>) -> Vec<u64> {
        let (first, end) = plan::extent(pools);
        (first..end)
            .filter_map(|index| Some(self.choices.words(index)?.first()?.load(Ordering::Acquire)))
            .collect()
    }

    /// The settings alone.
    pub fn settings(&self) -> Result<Settings, Error> {
        self.settings.get(&0, 0).map_err(Error::map("read", map::SETTINGS))
    }

    /// The MTUs of routes.
    pub fn route_mtus(&self) -> Result<Trie<Addr, u32>, Error> {
        held(&self.route_mtu, map::ROUTE_MTU)
    }

    /// The interfaces.
    pub fn interfaces(&self) -> Result<Interfaces, Error> {
        let mut found = Interfaces::new();
        for place in 0..MAX_INTERFACES {
            let index = self.ifindex.get(&place, 0).map_err(Error::map("read", map::IFINDEX))?;
            if index == 0 {
                continue;
            }
            let iface = match self.ifaces.get(&index, 0) {
                Ok(iface) => Some(iface),
                Err(MapError::KeyNotFound) => None,
                Err(e) => return Err(Error::map("read", map::IFACES)(e)),
            };
            found.insert(place, (index, iface));
        }
        Ok(found)
    }

    /// The interfaces that XDP can redirect to: index by place. The kernel takes one out itself when it goes away.
    pub fn targets(&self) -> BTreeMap<u32, u32> {
        (0..MAX_INTERFACES)
            .filter_map(|place| Some((place, self.devices.get(place, 0).ok()?.if_index)))
            .collect()
    }

    /// Makes the changes, one after the other.
    pub fn apply(&mut self, edits: &[Edit]) -> Result<(), Error> {
        edits.iter().try_for_each(|edit| self.edit(edit))
    }

    fn edit(&mut self, edit: &Edit) -> Result<(), Error> {
        let write = |name| Error::map("write", name);
        match edit {
            Edit::SetSettings(settings) => self.settings.set(0, **settings, 0).map_err(write(map::SETTINGS)),
            Edit::AddExempt(prefix) => insert(&mut self.exempt, map::EXEMPT, *prefix, 1),
            Edit::RemoveExempt(prefix) => remove(&mut self.exempt, map::EXEMPT, *prefix),
            Edit::AddReserved(prefix) => insert(&mut self.reserved, map::RESERVED, *prefix, 1),
            Edit::RemoveReserved(prefix) => remove(&mut self.reserved, map::RESERVED, *prefix),
            Edit::ZeroCounters { slot } => self.zero(*slot),
            Edit::SetEip(eip) => self.eips.insert(eip.addr, eip, 0).map_err(write(map::EIPS)),
            Edit::RemoveEip(addr) => ignore_missing(self.eips.remove(addr)).map_err(write(map::EIPS)),
            Edit::SetMember { place, eip } => self.members.set(*place, eip, 0).map_err(write(map::MEMBERS)),
            Edit::SetChoices { first, words } => {
                for (word, index) in words.iter().zip(*first..) {
                    // No more than the map has: `choices::buckets`.
                    if let Some(place) = self.choices.words(index).and_then(|w| w.first()) {
                        place.store(*word, Ordering::Release);
                    }
                }
                Ok(())
            }
            Edit::SetPool(prefix, pool) => insert(&mut self.pools, map::POOLS, *prefix, *pool),
            Edit::RemovePool(prefix) => remove(&mut self.pools, map::POOLS, *prefix),
            Edit::SetRouteMtu(prefix, mtu) => insert(&mut self.route_mtu, map::ROUTE_MTU, *prefix, *mtu),
            Edit::RemoveRouteMtu(prefix) => remove(&mut self.route_mtu, map::ROUTE_MTU, *prefix),
            Edit::SetInterface { place, index, iface } => self.set_interface(*place, *index, iface),
            Edit::SetTarget { place, index } => self.set_target(*place, *index),
            Edit::RemoveTarget { place } => self.remove_target(*place),
            Edit::RemoveInterface { place, index } => self.remove_interface(*place, *index),
        }
    }

    fn zero(&mut self, slot: u32) -> Result<(), Error> {
        let old = self.eip_stats.get(&slot, 0).map_err(Error::map("read", map::EIP_STATS))?;
        let zeros = PerCpuValues::try_from(vec![EipStats::default(); old.len()])
            .map_err(|e| Error::map("write", map::EIP_STATS)(MapError::IoError(e)))?;
        self.eip_stats.set(slot, zeros, 0).map_err(Error::map("write", map::EIP_STATS))
    }

    fn set_target(&mut self, place: u32, index: u32) -> Result<(), Error> {
        self.devices.set(place, index, None, 0).map_err(|e| {
            let name = if_indextoname(index).map(|n| n.to_string_lossy().into_owned());
            let name = name.unwrap_or_else(|_| format!("interface {index}"));
            Error::bpf(format!("cannot make {name} a redirect target"))(std::io::Error::other(e))
        })
    }

    /// What is not there any more is no error.
    fn remove_target(&mut self, place: u32) -> Result<(), Error> {
        sys::delete(self.devices_raw.fd(), &place)
            .map(drop)
            .map_err(Error::bpf(format!("cannot delete from map {}", map::DEVICES)))
    }

    /// From what is referred to, to what refers to it. Who had the place before is no target any more.
    fn set_interface(&mut self, place: u32, index: u32, iface: &Iface) -> Result<(), Error> {
        if self.devices.get(place, 0).is_ok_and(|device| device.if_index != index) {
            self.remove_target(place)?;
        }
        self.ifindex.set(place, index, 0).map_err(Error::map("write", map::IFINDEX))?;
        self.ifaces.insert(index, iface, 0).map_err(Error::map("write", map::IFACES))
    }

    /// The other way round. What is not there any more is no error.
    fn remove_interface(&mut self, place: u32, index: u32) -> Result<(), Error> {
        let deleted = |name: &'static str| Error::bpf(format!("cannot delete from map {name}"));
        sys::delete(self.ifaces_raw.fd(), &index).map_err(deleted(map::IFACES))?;
        self.remove_target(place)?;
        self.ifindex.set(place, 0, 0).map_err(Error::map("write", map::IFINDEX))
    }
}

fn held<K, V>(trie: &LpmTrie<MapData, K, V>, name: &'static str) -> Result<Trie<K, V>, Error>
where
    K: aya::Pod + Eq + std::hash::Hash,
    V: aya::Pod,
{
    trie.iter()
        .map(|r| r.map(|(k, v)| ((k.prefix_len(), k.data()), v)))
        .collect::<Result<_, _>>()
        .map_err(Error::map("read", name))
}

fn insert<K: aya::Pod, V: aya::Pod>(
    trie: &mut LpmTrie<MapData, K, V>,
    name: &'static str,
    (bits, data): Prefix<K>,
    value: V,
) -> Result<(), Error> {
    trie.insert(&Key::new(bits, data), value, 0).map_err(Error::map("write", name))
}

fn remove<K: aya::Pod, V: aya::Pod>(
    trie: &mut LpmTrie<MapData, K, V>,
    name: &'static str,
    (bits, data): Prefix<K>,
) -> Result<(), Error> {
    ignore_missing(trie.remove(&Key::new(bits, data))).map_err(Error::map("write", name))
}

/// A key that is gone already is no error.
fn ignore_missing(result: Result<(), MapError>) -> Result<(), MapError> {
    match result {
        Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(MapError::SyscallError(e)) if e.io_error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}
