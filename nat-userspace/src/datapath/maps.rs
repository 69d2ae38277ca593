//! Typed handles of the pinned maps: the only list of which map holds what.

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, Map, MapData, MapType, PerCpuArray, RingBuf};
use nat_common::abi::map;
use nat_common::eip::ReservedPort;
use nat_common::hop::{HopSlot, Iface, NextHop};
use nat_common::settings::Settings;
use nat_common::stats::{EipStats, Stats};
use nat_common::{Addr, Eip, FlowEntry, LpmAddr, PoolRef, Stamp};

use super::error::Error;
use super::pins::{self, Pins};
use super::sys;
use super::sys::errno;
use crate::host::private;

/// Where maps are opened.
pub trait Source {
    /// The map with a name.
    fn data(&self, name: &'static str) -> Result<MapData, Error>;

    /// Where it is, for errors.
    fn at(&self, name: &'static str) -> PathBuf;
}

impl Source for Pins {
    fn data(&self, name: &'static str) -> Result<MapData, Error> {
        open(self, name)
    }

    fn at(&self, name: &'static str) -> PathBuf {
        self.map(name)
    }
}

macro_rules! openers {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $variant:ident($map:expr);)+) => {$(
        $(#[$doc])*
        pub fn $name(source: &impl Source) -> Result<$ty, Error> {
            // By the type that the kernel tells: reading one as if it were another would write past our buffers.
            match Map::from_map_data(source.data($map)?).map_err(Error::map("use", $map))? {
                Map::$variant(data) => Map::$variant(data).try_into().map_err(Error::map("use", $map)),
                _ => Err(Error::WrongPin {
                    path: source.at($map),
                    found: "a map of another type",
                    wanted: concat!("one of type ", stringify!($variant)),
                }),
            }
        }
    )+};
}

openers! {
    /// The EIPs.
    eips: HashMap<MapData, Addr, Eip> = HashMap(map::EIPS);
    /// Inside prefixes.
    pools: LpmTrie<MapData, LpmAddr, PoolRef> = LpmTrie(map::POOLS);
    /// Pool members.
    members: Array<MapData, Eip> = Array(map::MEMBERS);
    /// Destinations that are routed.
    exempt: LpmTrie<MapData, LpmAddr, u32> = LpmTrie(map::EXEMPT);
    /// Ports that are never claimed.
    reserved: LpmTrie<MapData, ReservedPort, u32> = LpmTrie(map::RESERVED);
    /// MTUs of routes.
    route_mtu: LpmTrie<MapData, LpmAddr, u32> = LpmTrie(map::ROUTE_MTU);
    /// Managed interfaces.
    ifaces: HashMap<MapData, u32, Iface> = HashMap(map::IFACES);
    /// Redirect targets.
    devices: DevMap<MapData> = DevMap(map::DEVICES);
    /// Devmap index to ifindex.
    ifindex: Array<MapData, u32> = Array(map::IFINDEX);
    /// Settings.
    settings: Array<MapData, Settings> = Array(map::SETTINGS);
    /// Counters.
    stats: PerCpuArray<MapData, Stats> = PerCpuArray(map::STATS);
    /// Counters of EIPs.
    eip_stats: PerCpuArray<MapData, EipStats> = PerCpuArray(map::EIP_STATS);
    /// Events.
    events: RingBuf<MapData> = RingBuf(map::EVENTS);
}

/// The flow table, for [`super::table`]. Only BPF programs write it.
pub fn flows(pins: &impl Source) -> Result<MapData, Error> {
    raw::<FlowEntry>(pins, map::FLOWS, MapType::Array)
}

/// The next hops, for [`super::hops`].
pub fn hops(pins: &impl Source) -> Result<MapData, Error> {
    raw::<HopSlot>(pins, map::HOPS, MapType::Array)
}

/// Neighbours that flows use, [`NextHop`] to [`Stamp`], for [`super::batch`]: walked one by one, a map that loses elements
/// meanwhile may start over again and again.
pub fn nexthops(pins: &Pins) -> Result<MapData, Error> {
    raw::<Stamp>(pins, map::NEXTHOPS, MapType::LruHash)
}

/// Removes one of [`nexthops`]; `false` when it was not there.
pub fn forget(nexthops: &MapData, hop: &NextHop) -> Result<bool, Error> {
    sys::delete(nexthops.fd(), hop).map_err(Error::bpf("cannot forget a neighbour"))
}

/// One that is mapped into memory, or read many elements at a time.
fn raw<V>(pins: &impl Source, name: &'static str, wanted: MapType) -> Result<MapData, Error> {
    let data = pins.data(name)?;
    let info = data.info().map_err(Error::map("inspect", name))?;
    let kind = info.map_type().map_err(Error::map("inspect", name))?;
    if kind == wanted && info.value_size() as usize == size_of::<V>() {
        return Ok(data);
    }
    let (found, wanted) = ("a map of another type or size", "its table");
    Err(Error::WrongPin { path: pins.at(name), found, wanted })
}

fn open(pins: &Pins, name: &'static str) -> Result<MapData, Error> {
    let refused = |source| Error::NotAllowed { dir: pins.dir().to_owned(), source };
    match std::fs::metadata(pins.map(name)) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(refused(e)),
        Err(_) => return Err(Error::NotUp { dir: pins.dir().to_owned() }),
    }
    private::check(pins.dir())?;
    pins::expect(&pins.map(name), pins::MAP)?;
    MapData::from_pin(pins.map(name)).map_err(|e| match errno(&e).map(io::Error::from_raw_os_error) {
        Some(source) if source.kind() == ErrorKind::PermissionDenied => refused(source),
        _ => Error::map("open", name)(e),
    })
}
