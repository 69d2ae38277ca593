//! UDP flows by the million, each born of a packet: drives the program `bench_births`.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use aya::maps::Array;
use aya::programs::{TestRun as _, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nat_bench_ebpf::layout::births::Plan;
use nat_tests::lab::Netns;

use crate::cores;

/// Frames that the kernel makes before it sends them on: the most it allows is 256, and a veth's ring holds as many.
const BATCH: u32 = 64;

/// Frames of one system call: short enough for a deadline between calls, long enough not to matter.
const BURST: u32 = 16_384;

/// The flows that there are numbers for, and how their frames look.
#[derive(Clone, Copy, Debug)]
pub struct Population {
    /// Flows.
    pub flows: u32,
    /// First source address, and how many.
    pub sources: (Ipv4Addr, u32),
    /// First destination address, and how many.
    pub destinations: (Ipv4Addr, u32),
    /// First source port; as many follow as the flows need.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Ethernet addresses: of the gateway's inside interface, and of whoever sends.
    pub macs: ([u8; 6], [u8; 6]),
    /// Bytes of a frame, from 42, without the checksum that hardware appends.
    pub length: usize,
}

/// In which order flows get their frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other, in the order of their numbers.
    Sequential,
    /// All over the place: each once before any twice, far from the one before.
    Scattered,
}

/// Makes frames on one CPU and sends them out of an interface.
#[derive(Debug)]
pub struct Births<'ns> {
    ns: &'ns Netns,
    ebpf: Ebpf,
    ifindex: u32,
    cpu: u32,
    population: Population,
}

impl<'ns> Births<'ns> {
    /// Frames will leave by `device` of `ns`.
    pub fn new(
        object: &Path,
        ns: &'ns Netns,
        device: &str,
        cpu: u32,
        population: Population,
    ) -> Result<Self> {
        population.check()?;
        let ifindex = ns.run(|| nix::net::if_::if_nametoindex(device)).with_context(|| device.to_owned())?;
        let mut ebpf = EbpfLoader::new()
            .load_file(object)
            .with_context(|| format!("load {}; `cargo xtask bench` builds it", object.display()))?;
        xdp(&mut ebpf)?.load()?;
        Ok(Self { ns, ebpf, ifindex, cpu, population })
    }

    /// From now on there are numbers for this many flows only.
    pub fn restrict(&mut self, flows: u32) {
        self.population.flows = flows;
    }

    /// Sends the frames number `first` and on, `frames` of them, and returns when the last is on its way.
    pub fn send(&mut self, order: Order, first: u32, frames: u32) -> Result<()> {
        let Self { ns, ebpf, ifindex, cpu, population } = self;
        let map = ebpf.map_mut("BIRTHS").context("no map BIRTHS")?;
        Array::<_, Plan>::try_from(map)?.set(*cpu, population.plan(order, first), 0)?;
        let program = xdp(ebpf)?;
        let frame = vec![0; population.length];
        let context = [0, u32::try_from(frame.len())?, 0, *ifindex, 0, 0];
        // A thread of its own: neither the namespace nor the CPU is for whoever asks.
        ns.run(|| {
            cores::pin(0, *cpu as usize)?;
            let mut left = frames;
            while left > 0 {
                let now = left.min(BURST);
                let options = TestRunOptions {
                    data_in: Some(&frame),
                    ctx_in: Some(bytemuck::cast_slice(&context)),
                    repeat: now,
                    attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
                    ..TestRunOptions::new()
                };
                program.test_run(options).context("send live frames")?;
                left -= now;
            }
            Ok(())
        })
    }
}

fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp> {
    Ok(ebpf.program_mut("bench_births").context("no program bench_births")?.try_into()?)
}

impl Population {
    /// The plan as `bench_births` reads it.
    fn plan(&self, order: Order, first: u32) -> Plan {
        let (to, from) = self.macs;
        Plan {
            next: first,
            flows: self.flows,
            stride: match order {
                Order::Sequential => 1,
                Order::Scattered => scattering(self.flows),
            },
            source: self.sources.0.into(),
            sources: self.sources.1,
            destination: self.destinations.0.into(),
            destinations: self.destinations.1,
            ports: u32::from(self.sport) | u32::from(self.dport) << 16,
            macs: bytemuck::cast([to, from]),
            spare: [0; 5],
        }
    }

    /// Fails when the flows need more source ports than there are.
    pub fn check(&self) -> Result<()> {
        let ports = self.flows.div_ceil(self.sources.1 * self.destinations.1);
        ensure!(u32::from(self.sport) + ports <= 65_536, "{} flows are too many for {self:?}", self.flows);
        Ok(())
    }
}

/// A stride through `flows` numbers that meets each before any twice and jumps by the golden section of them.
fn scattering(flows: u32) -> u32 {
    let gcd = |mut a: u32, mut b: u32| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let golden = (u64::from(flows) * 618_034 / 1_000_000) as u32;
    (golden.max(1)..=flows).find(|s| gcd(*s, flows) == 1).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scattered_visits_are_complete() {
        for flows in [1u32, 2, 7, 1000, 65_536] {
            let stride = u64::from(scattering(flows));
            let mut seen: Vec<u64> = (0..u64::from(flows)).map(|n| n * stride % u64::from(flows)).collect();
            seen.sort_unstable();
            assert!((0..u64::from(flows)).eq(seen), "{flows} by {stride}");
        }
    }
}
