//! Maps in our own memory: what the packet path reads and writes, without a system call per element.
//!
//! Other CPUs write at any time, so memory is only ever touched as atomic words.

use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use aya::maps::MapData;

use super::error::Error;
use super::sys;

/// Whether a mapping may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Looking only.
    Read,
    /// Words may be swapped.
    Write,
}

/// Some elements of an ARRAY that was made to be mapped (`BPF_F_MMAPABLE`).
pub struct Mapping {
    memory: sys::Memory,
    /// Bytes from the mapping's start, which is that of a page, to the first element.
    skip: usize,
    count: u32,
    element: usize,
}

impl Mapping {
    /// Maps the elements of `map`, each of `element` bytes, that have these indices.
    pub fn new(
        map: &MapData,
        name: &'static str,
        element: usize,
        indices: Range<u32>,
        access: Access,
    ) -> Result<Self, Error> {
        let page = sys::page_size();
        let start = indices.start as usize * element;
        let end = indices.end as usize * element;
        let aligned = start / page * page;
        let bytes = (end - aligned).next_multiple_of(page);
        let memory = sys::Memory::map(map.fd(), aligned, bytes, access == Access::Write)
            .map_err(Error::bpf(format!("cannot map {name} into memory")))?;
        Ok(Self { memory, skip: start - aligned, count: indices.end - indices.start, element })
    }

    /// Elements that are mapped.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The words of the `index`-th mapped element.
    pub fn words(&self, index: u32) -> Option<&[AtomicU64]> {
        if index >= self.count {
            return None;
        }
        let words = self.memory.words();
        let first = (self.skip + index as usize * self.element) / size_of::<u64>();
        words.get(first..first + self.element / size_of::<u64>())
    }

    /// The word at `offset` bytes into the `index`-th mapped element, to be swapped.
    pub fn word(&self, index: u32, offset: usize) -> Option<&AtomicU32> {
        if index >= self.count {
            return None;
        }
        let at = self.skip + index as usize * self.element + offset;
        self.memory.half_words().get(at / size_of::<u32>())
    }
}

/// Copies words one by one.
pub fn copy<const WORDS: usize>(words: &[AtomicU64]) -> [u64; WORDS] {
    let mut copied = [0; WORDS];
    for (to, from) in copied.iter_mut().zip(words) {
        *to = from.load(Ordering::Acquire);
    }
    copied
}
