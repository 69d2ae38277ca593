//! Reading many map elements per system call.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::MapData;
use bytemuck::Pod;

use super::error::Error;
use super::sys;

/// Elements per call: 1.2 ms of kernel time, and a buffer of 320 KiB for flows.
pub const SIZE: usize = 4096;

/// Buffers grow up to this when a hash bucket does not fit. A bucket that long means a broken hash.
const MAX_SIZE: usize = SIZE * 64;

/// A walk over a map, one batch at a time. Elements that come or go meanwhile may or may not be seen; none
/// that stays is missed or seen twice (the kernel walks buckets and holds one at a time).
pub struct Reader<'a, K, V> {
    map: BorrowedFd<'a>,
    name: &'static str,
    cursor: Option<u64>,
    keys: Vec<K>,
    values: Vec<V>,
    end: bool,
}

impl<'a, K: Pod, V: Pod> Reader<'a, K, V> {
    /// Starts at the map's first element.
    pub fn new(map: &'a MapData, name: &'static str) -> Result<Self, Error> {
        let info = map.info().map_err(Error::map("inspect", name))?;
        if (info.key_size() as usize, info.value_size() as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(Error::bpf(format!("map {name} has another layout than this binary knows"))(
                io::ErrorKind::InvalidData.into(),
            ));
        }
        let (keys, values) = (vec![K::zeroed(); SIZE], vec![V::zeroed(); SIZE]);
        Ok(Self { map: map.fd().as_fd(), name, cursor: None, keys, values, end: false })
    }

    /// The next elements; `None` at the end.
    pub fn next_batch(&mut self) -> Result<Option<impl Iterator<Item = (&K, &V)>>, Error> {
        while !self.end {
            match sys::lookup_batch(self.map, &mut self.cursor, &mut self.keys, &mut self.values) {
                Ok(looked) => {
                    self.end = looked.end;
                    if looked.count > 0 {
                        return Ok(Some(self.keys.iter().zip(&self.values).take(looked.count)));
                    }
                }
                Err(e) if e.raw_os_error() == Some(libc::ENOSPC) && self.keys.len() < MAX_SIZE => {
                    let larger = self.keys.len() * 4;
                    self.keys.resize(larger, K::zeroed());
                    self.values.resize(larger, V::zeroed());
                }
                Err(e) => return Err(Error::bpf(format!("cannot read map {}", self.name))(e)),
            }
        }
        Ok(None)
    }
}
