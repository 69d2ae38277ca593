//! The benchmark's BPF object as the rig uses it.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{Array, DevMap, HashMap, PerCpuArray};
use aya::programs::xdp::XdpLink;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode};
use aya::{Ebpf, EbpfLoader};
use nat_bench_ebpf::header::{ETHERTYPE_IPV4, eth};
use nat_bench_ebpf::layout::rig::{Course, Value, Visit};
use nat_common::{Addr, Side, Tuple};
use nat_tests::lab::Netns;

use super::addresses::CLIENT;
use super::traffic::{self, Size};

/// Frames that the generator makes at a time: as many as one poll of a device takes, and a quarter of what the ring
/// of a veth holds.
const BATCH: u32 = 64;

/// Programs that can be attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Counts and drops.
    Receive,
    /// Counts answers and drops.
    ReceiveAnswer,
    /// Counts and passes.
    Look,
    /// Counts and answers.
    Answer,
    /// Redirects without a lookup.
    Redirect,
    /// Redirects after a FIB lookup.
    Fib,
    /// Redirects after a flow table lookup.
    Lookup,
    /// Makes frames of one length.
    Generate,
    /// Makes frames of mixed lengths.
    GenerateMix,
}

impl Program {
    const ALL: [Self; 9] = [
        Self::Receive,
        Self::ReceiveAnswer,
        Self::Look,
        Self::Answer,
        Self::Redirect,
        Self::Fib,
        Self::Lookup,
        Self::Generate,
        Self::GenerateMix,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Receive => "rig_receive",
            Self::ReceiveAnswer => "rig_receive_answer",
            Self::Look => "rig_look",
            Self::Answer => "rig_answer",
            Self::Redirect => "rig_redirect",
            Self::Fib => "rig_fib",
            Self::Lookup => "rig_lookup",
            Self::Generate => "rig_generate",
            Self::GenerateMix => "rig_generate_mix",
        }
    }
}

/// Which counter.
#[derive(Clone, Copy, Debug)]
pub enum Counter {
    /// What came through the gateway.
    Delivered = 0,
    /// Answers that came back to the generator.
    Answered = 1,
}

/// Where the generator is.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Place in the list of the next packet.
    pub place: u32,
    /// Packets made.
    pub made: u64,
}

/// An attached program, until dropped.
pub struct Port(Option<XdpLink>);

/// The loaded object.
pub struct Objects {
    ebpf: Ebpf,
    course: Course,
}

impl Objects {
    /// Loads it, with a flow table for this many flows.
    pub fn load(path: &Path, flows: u32, dmac: [u8; 6], smac: [u8; 6]) -> Result<Self> {
        let bytes = std::fs::read(path)
            .with_context(|| format!("read {}; `cargo xtask bench` makes it", path.display()))?;
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("RIG_VISITS", traffic::MAX_FLOWS)
            .map_max_entries("RIG_TABLE", 2 * flows)
            .load(&bytes)?;
        for name in Program::ALL.map(Program::name) {
            xdp_mut(&mut ebpf, name)?.load().with_context(|| format!("load {name}"))?;
        }
        let course = Course {
            next: 0,
            visits: 0,
            target: 0,
            src: CLIENT.into(),
            made: 0,
            ethernet: ethernet(dmac, smac),
        };
        Ok(Self { ebpf, course })
    }

    /// Attaches a program to a device, in native mode.
    pub fn attach(&mut self, program: Program, ns: &Netns, device: &str) -> Result<Port> {
        let xdp = xdp_mut(&mut self.ebpf, program.name())?;
        let link = ns.run(|| -> Result<_> {
            let id = xdp.attach(device, XdpMode::Driver)?;
            Ok(xdp.take_link(id)?)
        });
        link.map(|l| Port(Some(l)))
            .with_context(|| format!("attach {program:?} to {device} in {}", ns.name()))
    }

    /// Puts another program where one is attached.
    pub fn replace(&mut self, port: &mut Port, program: Program) -> Result<()> {
        let xdp = xdp_mut(&mut self.ebpf, program.name())?;
        let link = port.0.take().context("the port lost its program")?;
        let id = xdp.attach_to_link(link).with_context(|| format!("put {program:?} in place"))?;
        port.0 = Some(xdp.take_link(id)?);
        Ok(())
    }

    /// Puts a device of a namespace into a devmap.
    pub fn set_device(&mut self, map: &str, index: Option<u32>, ns: &Netns, device: &str) -> Result<()> {
        let mut devices: DevMap<_> =
            DevMap::try_from(self.ebpf.map_mut(map).with_context(|| map.to_owned())?)?;
        ns.run(|| -> Result<_> {
            let ifindex = nix::net::if_::if_nametoindex(device)?;
            Ok(devices.set(index.unwrap_or(ifindex), ifindex, None, 0)?)
        })
        .with_context(|| format!("put {device} into {map}"))
    }

    /// Adds flows to the flow table of the lookup-only gateway, both directions.
    pub fn fill_table(&mut self, flows: std::ops::Range<u32>, eip: Addr) -> Result<()> {
        let map = self.ebpf.map_mut("RIG_TABLE").context("RIG_TABLE")?;
        let mut table: HashMap<_, Tuple, Value> = HashMap::try_from(map)?;
        let value = Value { egress: 1, rest: [0; 15] };
        for flow in flows {
            let out = traffic::tuple(flow);
            let back = Tuple {
                src: out.dst,
                dst: eip,
                sport: out.dport,
                dport: out.sport,
                side: Side::OUTSIDE,
                ..out
            };
            table.insert(back, value, 0)?;
            table.insert(out, value, 0)?;
        }
        Ok(())
    }

    /// Gives the generator its list and the index of the interface to send from.
    pub fn set_course(&mut self, visits: &[Visit]) -> Result<()> {
        let mut list: Array<_, Visit> =
            Array::try_from(self.ebpf.map_mut("RIG_VISITS").context("RIG_VISITS")?)?;
        for (index, visit) in (0..).zip(visits) {
            list.set(index, visit, 0)?;
        }
        self.course.visits = u32::try_from(visits.len())?;
        Ok(())
    }

    /// Chooses the interface to send from, and the place in the list to start at.
    pub fn aim(&mut self, target: u32, place: u32) -> Result<()> {
        let mut course: Array<_, Course> =
            Array::try_from(self.ebpf.map_mut("RIG_COURSE").context("RIG_COURSE")?)?;
        Ok(course.set(0, Course { target, next: place, ..self.course }, 0)?)
    }

    /// How far the generator has come since [`Self::aim`].
    pub fn progress(&self) -> Result<Progress> {
        let course: Array<_, Course> = Array::try_from(self.ebpf.map("RIG_COURSE").context("RIG_COURSE")?)?;
        let Course { next, made, .. } = course.get(&0, 0)?;
        Ok(Progress { place: next, made })
    }

    /// Packets that have arrived so far.
    pub fn count(&self, counter: Counter) -> Result<u64> {
        let counts: PerCpuArray<_, u64> =
            PerCpuArray::try_from(self.ebpf.map("RIG_COUNTS").context("RIG_COUNTS")?)?;
        Ok(counts.get(&(counter as u32), 0)?.iter().sum())
    }

    /// Makes and sends `packets` frames.
    pub fn generate(&self, size: Size, packets: u32) -> Result<()> {
        let name = match size {
            Size::Fixed(_) => Program::Generate,
            Size::Imix => Program::GenerateMix,
        }
        .name();
        let program: &Xdp = self.ebpf.program(name).context(name)?.try_into()?;
        let frame = vec![0u8; usize::from(size.longest())];
        let options = TestRunOptions {
            data_in: Some(&frame),
            repeat: packets,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH.min(packets)),
            ..TestRunOptions::new()
        };
        program
            .test_run(options)
            .with_context(|| format!("run {name} with live frames (Linux 5.18 or later)"))?;
        Ok(())
    }
}

/// The Ethernet header of every packet, as the generator reads it.
fn ethernet(dmac: [u8; 6], smac: [u8; 6]) -> [u64; 2] {
    let mut bytes = [0; 16];
    bytes[eth::DST..eth::SRC].copy_from_slice(&dmac);
    bytes[eth::SRC..eth::TYPE].copy_from_slice(&smac);
    bytes[eth::TYPE..eth::LEN].copy_from_slice(&ETHERTYPE_IPV4.to_ne_bytes());
    bytemuck::cast(bytes)
}

fn xdp_mut<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    Ok(ebpf
        .program_mut(name)
        .with_context(|| format!("no program {name}; `cargo xtask bench` builds it"))?
        .try_into()?)
}
