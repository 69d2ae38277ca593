//! The driver from userspace: lists of visits, and timed runs of a program over them.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, Map, ProgramArray};
use aya::programs::{ProgramFd, Xdp};
use aya::{Ebpf, EbpfLoader};
use nat_bench_ebpf::layout::driver::{Job, Visit};

use super::clock::{self, Clock, Timed};
use super::traffic::Traffic;
use super::visits::{List, Visits};

const VISITS: &str = "DRIVER_VISITS";
const JOB: &str = "DRIVER_JOB";
const TARGET: &str = "DRIVER_TARGET";
const BARE: &str = "BARE";
const FAILURES: &str = "BARE_FAILURES";

/// What the driver returns when it could not hand the packet on.
const XDP_ABORTED: u32 = 0;

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

/// The benchmark's object, loaded.
#[derive(Debug)]
pub struct Driver {
    ebpf: Ebpf,
    visits: Visits,
    used: u32,
    clock: Clock,
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
        Ok(Self { ebpf, visits, used: 0, clock: Clock::default() })
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
        Ok(&*self.visits.of(list)?)
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

    /// Measures what a test run costs besides its packets; for every round.
    pub fn calibrate(&mut self, traffic: &Traffic) -> Result<()> {
        let program: &Xdp = self.ebpf.program(Own::Empty.name()).context("no empty program")?.try_into()?;
        self.clock.calibrate(program, &traffic.frame, traffic.ifindex)
    }

    /// Runs a program of this object alone, without the driver, on the same frame again and again.
    pub fn run_alone(&self, own: Own, traffic: &Traffic, repeat: u32) -> Result<Timed> {
        self.clock.time(self.own(own)?, &traffic.frame, traffic.ifindex, repeat)
    }

    /// Runs `target` on `repeat` packets of the traffic, going on where the last run stopped.
    pub fn run(&mut self, target: &ProgramFd, traffic: &mut Traffic, repeat: u32) -> Result<Timed> {
        self.drive(Own::Driver, target, traffic, repeat, 0)
    }

    /// Runs `target` on the next `count` packets, each in a test run of its own.
    pub fn run_singly(
        &mut self,
        target: &ProgramFd,
        traffic: &mut Traffic,
        count: u32,
    ) -> Result<Vec<Timed>> {
        self.give(target, traffic, 0)?;
        let program = self.own(Own::Driver)?;
        let one = |_| self.clock.time(program, &traffic.frame, traffic.ifindex, 1);
        let times = (0..count).map(one).collect::<Result<_>>()?;
        self.take_back(traffic)?;
        Ok(times)
    }

    /// Runs `target` on the next packet of the traffic: the XDP action, and the frame afterwards.
    pub fn look(&mut self, target: &ProgramFd, traffic: &mut Traffic) -> Result<(u32, Vec<u8>)> {
        self.give(target, traffic, 0)?;
        let result = clock::look(self.own(Own::Driver)?, &traffic.frame, traffic.ifindex)?;
        self.take_back(traffic)?;
        Ok(result)
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
        self.give(target, traffic, harvest)?;
        let timed = self.clock.time(self.own(own)?, &traffic.frame, traffic.ifindex, repeat)?;
        self.take_back(traffic)?;
        ensure!(timed.action != XDP_ABORTED, "the driver, or the program under test, gave up (XDP_ABORTED)");
        Ok(timed)
    }

    /// Tells the driver what to do.
    fn give(&mut self, target: &ProgramFd, traffic: &Traffic, harvest: u32) -> Result<()> {
        let mut targets = ProgramArray::try_from(self.ebpf.map_mut(TARGET).context(TARGET)?)?;
        targets.set(0, target, 0).context("make the program a tail call's target")?;
        let mut jobs: Array<_, Job> = Array::try_from(self.ebpf.map_mut(JOB).context(JOB)?)?;
        Ok(jobs.set(0, traffic.job(harvest), 0)?)
    }

    /// Notes how far it has come.
    fn take_back(&self, traffic: &mut Traffic) -> Result<()> {
        let jobs: Array<_, Job> = Array::try_from(self.ebpf.map(JOB).context(JOB)?)?;
        traffic.next = jobs.get(&0, 0)?.next;
        Ok(())
    }
}
