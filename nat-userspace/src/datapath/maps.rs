//! Typed handles of the pinned maps, made of the one list of them ([`nat_common::maps`]).

use std::io::{self, ErrorKind};
use std::path::PathBuf;

use aya::maps::lpm_trie::LpmTrie;
use aya::maps::xdp::DevMap;
use aya::maps::{Array, HashMap, Map, MapData, MapType, PerCpuArray, RingBuf};
use nat_common::abi::map;
use nat_common::hop::NextHop;

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

/// The type of a handle: a map of this kind, with these types.
macro_rules! handle {
    (DevMap) => { DevMap<MapData> };
    (RingBuf $element:ty) => { RingBuf<MapData> };
    (LruHashMap $key:ty, $value:ty) => { HashMap<MapData, $key, $value> };
    ($kind:ident $($type:ty),+) => { $kind<MapData, $($type),+> };
}

/// A function that opens a map, by the access that its line in the list tells.
macro_rules! opener {
    (INTERNAL $($rest:tt)*) => {};
    (MAPPED $(#[$about:meta])* Array $name:ident $handle:ident $value:ty) => {
        $(#[$about])*
        pub fn $handle(source: &impl Source) -> Result<MapData, Error> {
            raw::<$value>(source, map::$name, MapType::Array)
        }
    };
    (BATCHED $(#[$about:meta])* LruHashMap $name:ident $handle:ident $key:ty, $value:ty) => {
        $(#[$about])*
        pub fn $handle(source: &impl Source) -> Result<MapData, Error> {
            raw::<$value>(source, map::$name, MapType::LruHash)
        }
    };
    ($access:ident $(#[$about:meta])* $kind:ident $name:ident $handle:ident $($type:ty),*) => {
        $(#[$about])*
        pub fn $handle(source: &impl Source) -> Result<handle!($kind $($type),*), Error> {
            // By the type that the kernel tells: reading one as if it were another would write past our buffers.
            match Map::from_map_data(source.data(map::$name)?).map_err(Error::map("use", map::$name))? {
                Map::$kind(data) => Map::$kind(data).try_into().map_err(Error::map("use", map::$name)),
                _ => Err(Error::WrongPin {
                    path: source.at(map::$name),
                    found: "a map of another type",
                    wanted: concat!("one of type ", stringify!($kind)),
                }),
            }
        }
    };
}

macro_rules! openers {
    ($(
        $(#[$about:meta])*
        $access:ident $kind:ident $name:ident $handle:ident ($($type:ty),*) [$elements:expr];
    )+) => {
        $(opener!($access $(#[$about])* $kind $name $handle $($type),*);)+
    };
}
nat_common::for_each_map!(openers);

/// Removes one of [`nexthops`]; `false` when it was not there.
pub fn forget(nexthops: &MapData, hop: &NextHop) -> Result<bool, Error> {
    sys::delete(nexthops.fd(), hop).map_err(Error::bpf("cannot forget a neighbour"))
}

/// One that is mapped into memory, or read many elements at a time.
fn raw<V>(source: &impl Source, name: &'static str, wanted: MapType) -> Result<MapData, Error> {
    let data = source.data(name)?;
    let info = data.info().map_err(Error::map("inspect", name))?;
    let kind = info.map_type().map_err(Error::map("inspect", name))?;
    if kind == wanted && info.value_size() as usize == size_of::<V>() {
        return Ok(data);
    }
    let (found, wanted) = ("a map of another type or size", "its table");
    Err(Error::WrongPin { path: source.at(name), found, wanted })
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
