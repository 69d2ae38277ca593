//! The driver from userspace: lists of visits, and timed runs of a program over them.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;
use std::ptr::NonNull;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, ProgramArray};
use aya::programs::{ProgramFd, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nix::time::{ClockId, clock_gettime};

use super::traffic::Traffic;

#[path = "../../../../nat-ebpf/bench/visit.rs"]
mod visit;

pub use visit::{HEAD, Job, Visit};

// SAFETY: bytemuck::Pod, which `Job` derives, is the stronger promise.
unsafe impl aya::Pod for Job {}

const VISITS: &str = "DRIVER_VISITS";
const JOB: &str = "DRIVER_JOB";
const TARGET: &str = "DRIVER_TARGET";
const BARE: &str = "BARE";
const FAILURES: &str = "BARE_FAILURES";

/// Programs of the benchmark's object that this part runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Own {
    /// Does nothing.
    Empty,
    /// Reads the headers.
    Parse,
    /// Reads the headers and looks the tuple up in a kernel hash of natgw's size.
    Lookup,
    /// Inserts the tuple into that hash.
    Insert,
    /// Makes a packet and hands it on.
    Driver,
    /// The same, keeping what became of the packet before.
    Harvest,
}

impl Own {
    const ALL: [Self; 6] =
        [Self::Empty, Self::Parse, Self::Lookup, Self::Insert, Self::Driver, Self::Harvest];

    const fn name(self) -> &'static str {
        match self {
            Self::Empty => "bench_empty",
            Self::Parse => "bench_parse",
            Self::Lookup => "bench_lookup",
            Self::Insert => "bench_insert",
            Self::Driver => "bench_driver",
            Self::Harvest => "bench_harvest",
        }
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Visits of all lists together.
    pub visits: u32,
    /// Entries of the bare table.
    pub bare_entries: u32,
}

/// A stretch of the visits: one list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct List {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub struct Timed {
    /// The XDP action of the last packet.
    pub action: u32,
    /// Nanoseconds of CPU time per packet.
    pub nanoseconds: f64,
}

/// The benchmark's object, loaded.
#[derive(Debug)]
pub struct Driver {
    ebpf: Ebpf,
    visits: Visits,
    used: u32,
    /// CPU time of a test run that hardly runs anything.
    overhead: Duration,
}

impl Driver {
    /// Loads the object at `path`.
    pub fn load(path: &Path, room: Room) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("read {}; `cargo xtask bench` makes it", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries(VISITS, room.visits)
            .map_max_entries(BARE, room.bare_entries)
            .load(&bytes)
            .with_context(|| format!("load {}", path.display()))?;
        for own in Own::ALL {
            let program: &mut Xdp = ebpf.program_mut(own.name()).with_context(|| own.name())?.try_into()?;
            program.load().with_context(|| format!("load {}", own.name()))?;
        }
        let Map::Array(data) = ebpf.map(VISITS).context(VISITS)? else {
            anyhow::bail!("{VISITS} is no array");
        };
        let visits = Visits::map(data.fd().as_fd().as_raw_fd(), room.visits as usize)?;
        Ok(Self { ebpf, visits, used: 0, overhead: Duration::ZERO })
    }

    /// Forgets all lists.
    pub fn forget_lists(&mut self) {
        self.used = 0;
    }

    /// Takes up a list, in the order given.
    pub fn list(&mut self, visits: &[Visit]) -> Result<List> {
        let list = self.room_for(visits.len())?;
        self.visits.of(list)?.copy_from_slice(visits);
        Ok(list)
    }

    /// A list for the driver to fill.
    pub fn room_for(&mut self, count: usize) -> Result<List> {
        let list = List { first: self.used, count: u32::try_from(count)? };
        ensure!(count > 0, "an empty list");
        self.visits.of(list)?;
        self.used += list.count;
        Ok(list)
    }

    /// What stands in a list.
    pub fn visits(&mut self, list: List) -> Result<&[Visit]> {
        Ok(self.visits.of(list)?)
    }

    /// A program of this object, to be a target.
    pub fn target(&self, own: Own) -> Result<ProgramFd> {
        Ok(self.own(own)?.fd()?.try_clone()?)
    }

    fn own(&self, own: Own) -> Result<&Xdp> {
        Ok(self.ebpf.program(own.name()).with_context(|| own.name())?.try_into()?)
    }

    /// Lookups and insertions of the bare table that failed so far.
    pub fn failures(&self) -> Result<u64> {
        let failures: Array<_, u64> = Array::try_from(self.ebpf.map(FAILURES).context(FAILURES)?)?;
        Ok(failures.get(&0, 0)?)
    }

    /// Measures what a test run costs besides its packets. Again from time to time: it depends on the machine's mood.
    pub fn calibrate(&mut self, traffic: &Traffic) -> Result<()> {
        self.overhead = Duration::ZERO;
        let mut times = Vec::new();
        for _ in 0..5 {
            let (_, time) = test_run(self.own(Own::Empty)?, traffic, 2)?;
            times.push(time);
        }
        times.sort_unstable();
        self.overhead = times[times.len() / 2];
        Ok(())
    }

    /// Runs a program of this object alone, without the driver, on the same frame again and again.
    pub fn run_alone(&self, own: Own, traffic: &Traffic, repeat: u32) -> Result<Timed> {
        let (action, time) = test_run(self.own(own)?, traffic, repeat)?;
        Ok(self.timed(action, time, repeat))
    }

    /// Runs `target` on `repeat` packets of the traffic, going on where the last run stopped.
    pub fn run(&mut self, target: &ProgramFd, traffic: &mut Traffic, repeat: u32) -> Result<Timed> {
        self.drive(Own::Driver, target, traffic, repeat, 0)
    }

    /// Runs `target` once on each packet of the traffic, from the first on, and notes in `into` what became of
    /// each. One packet more is needed for that: the first comes again.
    pub fn harvest(&mut self, target: &ProgramFd, traffic: &mut Traffic, into: List) -> Result<Timed> {
        let list = traffic.list;
        ensure!(into.count == list.count && into.first > list.first, "no room for the harvest");
        traffic.next = list.first;
        self.drive(Own::Harvest, target, traffic, list.count + 1, into.first - list.first)
    }

    fn drive(
        &mut self,
        own: Own,
        target: &ProgramFd,
        traffic: &mut Traffic,
        repeat: u32,
        harvest: u32,
    ) -> Result<Timed> {
        let mut targets = ProgramArray::try_from(self.ebpf.map_mut(TARGET).context(TARGET)?)?;
        targets.set(0, target, 0).context("make the program a tail call's target")?;
        let mut jobs: Array<_, Job> = Array::try_from(self.ebpf.map_mut(JOB).context(JOB)?)?;
        jobs.set(0, traffic.job(harvest), 0)?;
        let (action, time) = test_run(self.own(own)?, traffic, repeat)?;
        let jobs: Array<_, Job> = Array::try_from(self.ebpf.map(JOB).context(JOB)?)?;
        traffic.next = jobs.get(&0, 0)?.next;
        ensure!(action != 0, "the driver, or the program under test, gave up (XDP_ABORTED)");
        Ok(self.timed(action, time, repeat))
    }

    fn timed(&self, action: u32, time: Duration, repeat: u32) -> Timed {
        let nanoseconds = time.saturating_sub(self.overhead).as_secs_f64() * 1e9 / f64::from(repeat);
        Timed { action, nanoseconds }
    }
}

/// The XDP action of the last packet, and the CPU time of the call. The kernel's own figure is whole nanoseconds:
/// too coarse for programs that take four.
fn test_run(program: &Xdp, traffic: &Traffic, repeat: u32) -> Result<(u32, Duration)> {
    // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context = [0, u32::try_from(traffic.frame.len())?, 0, traffic.ifindex, 0, 0];
    let options = TestRunOptions {
        data_in: Some(&traffic.frame),
        ctx_in: Some(bytemuck::cast_slice(&context)),
        repeat,
        ..TestRunOptions::new()
    };
    let before = cpu_time()?;
    let result = program.test_run(options)?;
    Ok((result.return_value, cpu_time()?.saturating_sub(before)))
}

/// CPU time of this thread: what others do meanwhile does not count.
fn cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}

/// The visits, mapped into this process: a million by system calls would take a second.
#[derive(Debug)]
struct Visits {
    start: NonNull<Visit>,
    count: usize,
}

impl Visits {
    fn map(fd: i32, count: usize) -> Result<Self> {
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

    fn of(&mut self, list: List) -> Result<&mut [Visit]> {
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
