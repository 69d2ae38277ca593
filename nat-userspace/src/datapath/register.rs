//! Interfaces as the packet path knows them: side and address, devmap index, redirect target.

use aya::maps::MapError;
use nat_common::abi::map;
use nat_common::hop::{Iface, MAX_INTERFACES};

use super::error::Error;
use super::plane::Datapath;
use super::sys;
use crate::host::facts::Link;

impl Datapath {
    /// Tells the packet path about an interface ([`super::iface::describe`]); again when that changes. An index that is
    /// known already keeps its place in the devmap, which flow entries refer to.
    pub fn register(&mut self, link: &Link, described: Iface) -> Result<(), Error> {
        let mut free = None;
        let mut known = None;
        for at in 0..MAX_INTERFACES {
            match self.tables.ifindex.get(&at, 0).map_err(Error::map("read", map::IFINDEX))? {
                index if index == link.index => known = Some(at),
                0 if free.is_none() => free = Some(at),
                _ => {}
            }
        }
        let at = known.or(free).ok_or(Error::TooMany {
            what: "interfaces",
            count: MAX_INTERFACES as usize + 1,
            limit: MAX_INTERFACES,
        })?;
        let iface = Iface { devmap: at as u16, ..described };
        let is_as_before = known.is_some()
            && self.tables.devices.get(at, 0).is_ok_and(|d| d.if_index == link.index)
            && self.tables.ifaces.get(&link.index, 0).is_ok_and(|known| known == iface);
        if is_as_before {
            return Ok(());
        }
        // From what is referred to, to what refers to it.
        self.tables.devices.set(at, link.index, None, 0).map_err(|e| {
            Error::bpf(format!("cannot make {} a redirect target", link.name))(std::io::Error::other(e))
        })?;
        self.tables.ifindex.set(at, link.index, 0).map_err(Error::map("write", map::IFINDEX))?;
        self.tables.ifaces.insert(link.index, iface, 0).map_err(Error::map("write", map::IFACES))
    }

    /// Makes the packet path forget an interface.
    pub fn unregister(&mut self, index: u32) -> Result<(), Error> {
        let iface = match self.tables.ifaces.get(&index, 0) {
            Ok(iface) => iface,
            Err(MapError::KeyNotFound) => return Ok(()),
            Err(e) => return Err(Error::map("read", map::IFACES)(e)),
        };
        let deleted = |name: &'static str| Error::bpf(format!("cannot delete from map {name}"));
        sys::delete(self.tables.ifaces_raw.fd(), &index).map_err(deleted(map::IFACES))?;
        let at = u32::from(iface.devmap);
        // The kernel empties the element itself when the device goes away.
        sys::delete(self.tables.devices_raw.fd(), &at).map_err(deleted(map::DEVICES))?;
        self.tables.ifindex.set(at, 0, 0).map_err(Error::map("write", map::IFINDEX))
    }

    /// Forgets interfaces that are not in `indices`.
    pub fn unregister_others(&mut self, indices: &[u32]) -> Result<(), Error> {
        let known: Vec<u32> =
            self.tables.ifaces.keys().collect::<Result<_, _>>().map_err(Error::map("read", map::IFACES))?;
        known.into_iter().filter(|i| !indices.contains(i)).try_for_each(|i| self.unregister(i))
    }
}
