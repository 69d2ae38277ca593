//! Fixtures: a packet, a program, and exactly what must come of it, by `BPF_PROG_TEST_RUN` on the real object.
//!
//! The world around the program is small and always the same: `in0` with a client behind it, `out0` with a
//! router behind it, in a namespace of its own, so that the FIB answers; every neighbour is static.

mod lane;
mod maps;
mod table;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use nat_common::abi::{self, map};
use nat_common::hop::Rpf;
use nat_common::settings::{ANSWERS_PER_SECOND, PROBE_BUDGET, Settings};
use nat_common::stats::{Meter, Stats};
use nat_common::timeouts::Timeouts;
use nat_common::{Answer, FlowEntry, Reason, Tuple};

use crate::lab::session::Session;
use crate::lab::tap::Injector;
use crate::lab::{GW_OUTSIDE, Netns, WAN, client_addr};
use crate::packet::{Packet, diff};
use crate::stack::{self, Stack};

pub use lane::{Lane, Ran};
pub use table::Table;

/// `in0` (or `net0`, one-armed).
pub const IN_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
/// `out0`.
pub const OUT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 2];
/// The client's.
pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
/// The router's.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];

/// The state that a fixture starts from.
#[derive(Clone, Debug)]
pub struct Setup {
    /// EIPs of the one pool, which serves 10/8.
    pub eips: Vec<Ipv4Addr>,
    /// Ports of each EIP. One port makes the outcome certain.
    pub ports: (u16, u16),
    /// EIPs are the host's own.
    pub shared: bool,
    /// Destinations that are routed, not translated.
    pub exempt: Vec<(Ipv4Addr, u32)>,
    /// One interface for both sides.
    pub one_armed: bool,
    /// Entries of the flow table, two a flow.
    pub entries: u32,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Whether the client and the router are in the neighbour table.
    pub neighbours: bool,
    /// MTU of the outside interface.
    pub outside_mtu: u16,
    /// Probes that failing claims may make per CPU and second.
    pub probe_budget: u32,
    /// ICMP errors that natgw sends per CPU and second.
    pub answers_per_second: u32,
    /// Whether sources must be genuine.
    pub rpf: Rpf,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            eips: vec![crate::lab::eip(0)],
            ports: (5000, 5000),
            shared: false,
            exempt: Vec::new(),
            one_armed: false,
            entries: 128,
            timeouts: Timeouts::RFC,
            neighbours: true,
            outside_mtu: 1500,
            probe_budget: PROBE_BUDGET,
            answers_per_second: ANSWERS_PER_SECOND,
            rpf: Rpf::Strict,
        }
    }
}

/// Where the packet arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrives {
    /// On the inside interface.
    Inside,
    /// On the outside interface.
    Outside,
    /// On the interface of a one-armed gateway.
    OneArm,
}

/// The XDP action, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `XDP_ABORTED`.
    Aborted,
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
    /// `XDP_TX`.
    Tx,
    /// `XDP_REDIRECT`.
    Redirect,
}

impl Verdict {
    const fn from_number(n: u32) -> Self {
        match n {
            1 => Self::Drop,
            2 => Self::Pass,
            3 => Self::Tx,
            4 => Self::Redirect,
            _ => Self::Aborted,
        }
    }
}

/// One packet and what must come of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it arrives.
    pub arrives: Arrives,
    /// The packet.
    pub packet: Packet,
    /// The action.
    pub verdict: Verdict,
    /// The frame afterwards; `None`: untouched.
    pub becomes: Option<Packet>,
    /// Every counter that moves, and by how much. See [`World::counters`] for the names.
    pub counts: Vec<(&'static str, u64)>,
}

/// A loaded object in a namespace of its own.
#[derive(Debug)]
pub struct World {
    ebpf: Ebpf,
    gw: Netns,
    setup: Setup,
    in_index: u32,
    out_index: u32,
    far: Netns,
    _session: Session,
}

impl World {
    /// Builds the namespace, loads the object and fills its maps.
    pub fn new(setup: Setup) -> Result<Self> {
        let session = Session::open()?;
        let (gw, far) = (session.namespace("gw")?, session.namespace("far")?);
        let script = format!(
            "link add in0 address 02:00:00:00:00:01 type veth peer name cli netns {far}
link add out0 address 02:00:00:00:00:02 mtu {mtu} type veth peer name wan netns {far}
link set in0 up\nlink set out0 up\naddr add 10.0.0.1/24 dev in0\naddr add {GW_OUTSIDE}/24 dev {outside}
route add default via {WAN}",
            far = far.name(),
            mtu = setup.outside_mtu,
            outside = if setup.one_armed { "in0" } else { "out0" },
        );
        // The far ends first: a route through a device without carrier is dead.
        let (before, after) = script.split_once("addr add").context("script")?;
        gw.ip(before)?;
        far.ip("link set cli up\nlink set wan up")?;
        gw.ip(&format!("addr add{after}"))?;
        if setup.neighbours {
            let outside = if setup.one_armed { "in0" } else { "out0" };
            gw.ip(&format!(
                "neigh add {} lladdr 02:00:00:00:00:0a dev in0\nneigh add {WAN} lladdr 02:00:00:00:00:fe dev {outside}",
                client_addr(0)
            ))?;
        }
        for device in ["in0", "out0"] {
            gw.sysctl(&format!("net.ipv4.conf.{device}.forwarding"), "1")?;
        }
        let index = |name: &str| gw.run(|| nix::net::if_::if_nametoindex(name));
        let (in_index, out_index) = (index("in0")?, index("out0")?);
        // Inside: a devmap takes only devices of the caller's namespace.
        let ebpf = gw.run(|| load(&setup, in_index, out_index))?;
        Ok(Self { ebpf, gw, setup, in_index, out_index, far, _session: session })
    }

    /// The namespace, to change routes and neighbours between steps.
    pub fn gw(&self) -> &Netns {
        &self.gw
    }

    /// Runs one step; an error says in what it differs.
    pub fn step(&self, step: &Step) -> Result<()> {
        let mut packet = step.packet.clone();
        let inside = step.arrives == Arrives::Inside || packet.src == client_addr(0);
        if packet.dmac == [0; 6] {
            packet.dmac = if step.arrives == Arrives::Outside { OUT_MAC } else { IN_MAC };
            packet.smac = if inside { CLIENT_MAC } else { ROUTER_MAC };
        }
        let frame = packet.build();
        let before = self.counters()?;
        let (verdict, out) = self.run(step.arrives, &frame)?;
        let after = self.counters()?;
        let moved: BTreeMap<&str, u64> =
            after.iter().map(|(k, v)| (*k, v - before[k])).filter(|(_, v)| *v != 0).collect();
        let expected: BTreeMap<&str, u64> = step.counts.iter().copied().collect();
        ensure!(
            verdict == step.verdict,
            "expected {:?}, got {verdict:?}; counters moved: {moved:?}\n{}",
            step.verdict,
            diff(&frame, &out)
        );
        let want = step.becomes.as_ref().map_or(frame, Packet::build);
        ensure!(out == want, "the frame differs:\n{}", diff(&want, &out));
        ensure!(moved == expected, "counters that must move: {expected:?}, that moved: {moved:?}");
        Ok(())
    }

    /// Runs the program on a frame: what it returned, and the frame afterwards.
    pub fn run(&self, arrives: Arrives, frame: &[u8]) -> Result<(Verdict, Vec<u8>)> {
        let (program, index) = self.program(arrives)?;
        // struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context = [0, u32::try_from(frame.len())?, 0, index, 0, 0];
        let mut context_out = [0u32; 6];
        let mut out = vec![0u8; frame.len() + 256];
        let result = self.gw.run(|| {
            program.test_run(TestRunOptions {
                data_in: Some(frame),
                data_out: Some(&mut out),
                ctx_in: Some(bytemuck::cast_slice(&context)),
                ctx_out: Some(bytemuck::cast_slice_mut(&mut context_out)),
                ..TestRunOptions::new()
            })
        })?;
        out.truncate(result.data_size_out as usize);
        // Metadata that the program put in front comes out with the frame.
        let meta = (context_out[0] as usize).min(out.len());
        Ok((Verdict::from_number(result.return_value), out.split_off(meta)))
    }

    /// Gives a packet to the kernel as if it had come by the outside interface: no XDP program is attached here.
    pub fn deliver(&self, packet: &Packet) -> Result<()> {
        let frame = packet.clone().macs(ROUTER_MAC, OUT_MAC).build();
        Injector::open(&self.far, "wan")?.send(&frame)?;
        Ok(())
    }

    /// The program of a side, and the interface that its packets arrive on.
    pub fn program(&self, arrives: Arrives) -> Result<(&Xdp, u32)> {
        let (name, index) = match arrives {
            Arrives::Inside => (abi::program::INSIDE, self.in_index),
            Arrives::Outside => (abi::program::OUTSIDE, self.out_index),
            Arrives::OneArm => (abi::program::ONEARM, self.in_index),
        };
        Ok((self.ebpf.program(name).context("no such program")?.try_into()?, index))
    }

    /// Counters by name: the four meters, the drop reasons, `passed`, `handovers`, `births`, `revivals`,
    /// `attempts`, `established`, `port_allocation_errors`.
    pub fn counters(&self) -> Result<BTreeMap<&'static str, u64>> {
        let stats: PerCpuArray<_, Stats> =
            PerCpuArray::try_from(self.ebpf.map(map::STATS).context("STATS")?)?;
        let sum = Stats::sum(stats.get(&0, 0)?.iter());
        let mut all = BTreeMap::new();
        all.extend(Meter::ALL.map(|m| (m.name(), sum.packets[m as usize])));
        all.extend(Reason::ALL.map(|r| (r.name(), sum.drops[r as usize])));
        all.insert("passed", sum.passed());
        all.extend(Answer::ALL.map(|a| (a.name(), sum.answers[a as usize])));
        all.insert("answers_limited", sum.answers_limited);
        all.insert("handovers", sum.handovers);
        all.insert("births", sum.births.iter().sum());
        all.insert("revivals", sum.revivals);
        all.insert("attempts", sum.attempts.iter().sum());
        all.insert("established", sum.established.iter().sum());
        all.insert("port_allocation_errors", sum.port_allocation_errors);
        Ok(all)
    }

    /// Everything in the flow table.
    pub fn flows(&self) -> Result<Vec<(Tuple, FlowEntry)>> {
        Ok(self.table()?.entries())
    }

    /// Starts a new generation of every hop, as the daemon does on a route or neighbour event.
    pub fn bump_hops(&self) -> Result<()> {
        maps::hops(&self.ebpf)?.bump_all();
        Ok(())
    }

    /// Settings as the programs have them.
    pub fn settings(&self) -> Result<Settings> {
        let settings: Array<_, Settings> =
            Array::try_from(self.ebpf.map(map::SETTINGS).context("SETTINGS")?)?;
        Ok(settings.get(&0, 0)?)
    }

    /// What it was built from.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// Name, verified instructions and bytes of machine code of every program.
    pub fn sizes(&mut self) -> Result<Vec<(String, u32, u32)>> {
        let mut sizes = Vec::new();
        for (name, program) in self.ebpf.programs() {
            let info = program.info()?;
            let verified = info.verified_instruction_count().unwrap_or(0);
            sizes.push((name.to_owned(), verified, info.size_jitted()));
        }
        Ok(sizes)
    }

    /// Name and stack use of every program.
    pub fn stacks(&mut self) -> Result<Vec<(String, Stack)>> {
        let ids: Vec<_> =
            self.ebpf.programs().map(|(n, p)| Ok((n.to_owned(), p.info()?.id()))).collect::<Result<_>>()?;
        ids.into_iter().map(|(name, id)| Ok((name, stack::of_program(id)?))).collect()
    }
}

/// `$NATGW_BPF_OBJECT`, or where `cargo xtask build` puts it.
pub fn object_path() -> PathBuf {
    std::env::var_os("NATGW_BPF_OBJECT").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/bpf/natgw-bpf"),
        PathBuf::from,
    )
}

fn load(setup: &Setup, in_index: u32, out_index: u32) -> Result<Ebpf> {
    let path = object_path();
    let bytes = std::fs::read(&path)
        .with_context(|| format!("read {}; `cargo xtask build` makes it", path.display()))?;
    let one_armed = u8::from(setup.one_armed);
    let mut ebpf = EbpfLoader::new()
        .map_max_entries(map::FLOWS, nat_common::table::slots(setup.entries / 2))
        .override_global(abi::RODATA_ONE_ARMED, &one_armed, true)
        .override_global(abi::RODATA_SEVERAL_INSIDE, &0_u8, true)
        // As the daemon loads it unless asked for diagnostics: the verifier prunes their calls.
        .override_global("AYA_LOG_LEVEL", &0_u8, true)
        .load(&bytes)?;
    for name in [abi::program::INSIDE, abi::program::OUTSIDE, abi::program::ONEARM, abi::program::REAPER] {
        let program: &mut Xdp = ebpf.program_mut(name).with_context(|| name.to_owned())?.try_into()?;
        program.load().with_context(|| format!("load {name}"))?;
    }
    for name in [abi::program::GUARD_EGRESS, abi::program::GUARD_INGRESS] {
        let program: &mut aya::programs::SchedClassifier =
            ebpf.program_mut(name).with_context(|| name.to_owned())?.try_into()?;
        program.load().with_context(|| format!("load {name}"))?;
    }
    maps::fill(&ebpf, setup, in_index, out_index)?;
    Ok(ebpf)
}
