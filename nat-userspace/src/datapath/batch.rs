//! Reading and writing many map elements per system call.

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

/// Writes a whole ARRAY map of which `values` are the elements from 0.
pub fn write_array<V: Pod>(map: &MapData, name: &'static str, values: &[V]) -> Result<(), Error> {
    let info = map.info().map_err(Error::map("inspect", name))?;
    if info.value_size() as usize != size_of::<V>() || values.len() > info.max_entries() as usize {
        return Err(Error::bpf(format!("map {name} has another layout than this binary knows"))(
            io::ErrorKind::InvalidData.into(),
        ));
    }
    let keys: Vec<u32> = (0..info.max_entries()).take(values.len()).collect();
    sys::update_batch(map.fd().as_fd(), &keys, values).map_err(Error::bpf(format!("cannot write map {name}")))
}

/// Writes one element of an ARRAY map.
pub fn write_element<V: Pod>(map: &MapData, name: &'static str, index: u32, value: &V) -> Result<(), Error> {
    sys::update_batch(map.fd().as_fd(), &[index], std::slice::from_ref(value))
        .map_err(Error::bpf(format!("cannot write map {name}")))
}
