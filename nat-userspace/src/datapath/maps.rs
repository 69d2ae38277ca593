//! Typed handles of the pinned maps: the only list of which map holds what.

use std::io::{self, ErrorKind};

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray, RingBuf};
use nat_common::abi::map;
use nat_common::eip::ReservedPort;
use nat_common::hop::{Iface, NextHop};
use nat_common::settings::Settings;
use nat_common::stats::{EipStats, Stats};
use nat_common::{Addr, Eip, LpmAddr, PoolRef};

use super::Error;
use super::attach::errno;
use super::pins::Pins;

macro_rules! openers {
    ($($(#[$doc:meta])* $name:ident: $ty:ty = $variant:ident($map:expr);)+) => {$(
        $(#[$doc])*
        pub fn $name(pins: &Pins) -> Result<$ty, Error> {
            let data = open(pins, $map)?;
            Map::$variant(data).try_into().map_err(Error::map("use", $map))
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
    /// Neighbours that flows use.
    nexthops: HashMap<MapData, NextHop, u32> = LruHashMap(map::NEXTHOPS);
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
pub fn flows(pins: &Pins) -> Result<MapData, Error> {
    open(pins, map::FLOWS)
}

/// The next hops, for [`super::hops`].
pub fn hops(pins: &Pins) -> Result<MapData, Error> {
    open(pins, map::HOPS)
}

fn open(pins: &Pins, name: &'static str) -> Result<MapData, Error> {
    let refused = |source| Error::NotAllowed { dir: pins.dir().to_owned(), source };
    match std::fs::metadata(pins.map(name)) {
        Ok(_) => {}
        Err(e) if e.kind() == ErrorKind::PermissionDenied => return Err(refused(e)),
        Err(_) => return Err(Error::NotUp { dir: pins.dir().to_owned() }),
    }
    MapData::from_pin(pins.map(name)).map_err(|e| match errno(&e).map(io::Error::from_raw_os_error) {
        Some(source) if source.kind() == ErrorKind::PermissionDenied => refused(source),
        _ => Error::map("open", name)(e),
    })
}
