//! Lists of visits, in memory that the driver reads.

use std::ptr::NonNull;

use anyhow::{Context as _, Result, ensure};

use nat_bench_ebpf::layout::driver::Visit;

/// A stretch of the visits: one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The visits, mapped into this process: a million by system calls would take a second.
#[derive(Debug)]
pub struct Visits {
    start: NonNull<Visit>,
    count: usize,
}

impl Visits {
    /// Maps `count` visits.
    pub fn map(fd: i32, count: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                count * size_of::<Visit>(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd,
                0,
            )
        };
        if start == libc::MAP_FAILED {
            return Err(std::io::Error::last_os_error()).context("map the visits into memory");
        }
        let start = NonNull::new(start.cast()).context("visits at address 0")?;
        Ok(Self { start, count })
    }

    /// Those of one list.
    pub fn of(&mut self, list: List) -> Result<&mut [Visit]> {
        let (first, count) = (list.first as usize, list.count as usize);
        ensure!(first + count <= self.count, "no room for {count} visits after {first} of {}", self.count);
        // SAFETY: within the mapping, which lives as long as `self`; any bytes are a `Visit`; programs that use the
        // map run only while this thread waits for them.
        Ok(unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr().add(first), count) })
    }
}

impl Drop for Visits {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size; slices borrow `self`.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.count * size_of::<Visit>()) };
    }
}
