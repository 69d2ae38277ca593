//! One million flows and more: what they take of memory and time, and whether natgw can still be talked to.

mod collector;
mod cost;
mod memory;
mod restart;
mod stand;
mod verbs;

use std::time::{Duration, Instant};

use anyhow::Result;
use nat_tests::lab::Gateway;

use crate::births::{Births, Order};
use crate::context::{Context, progress};
use crate::report::section::{Cell, Compare, Finding, Plot, Row, Sample, Section, Table, Target};
use collector::Window;
use memory::Memory;
use stand::Stand;

/// Frames over which a packet's cost is averaged.
const VISITS: u32 = 200_000;

/// Measures.
pub fn run(context: &Context) -> Result<Section> {
    let mut found = Found::new();
    let stand = Stand::new(context)?;
    // First: the kernel takes its time to give back what a gateway had.
    asked(context, &stand, &mut found)?;
    progress("scale: start-up");
    let ready = restart::fresh(&stand, context.pick(2, 5))?;
    found.start("fresh, default size", "start", &ready);
    if context.pick(false, true) {
        filled(context, &stand, &mut found)?;
    }
    Ok(found.section())
}

/// A table of the default size, full: questions, and restarts.
fn asked(context: &Context, stand: &Stand, found: &mut Found) -> Result<()> {
    let flows = context.pick(200_000, 1_000_000);
    let size = 1_000_000;
    let options = Stand::options(Some(size));
    let before = Memory::settled()?;
    let mut gateway = Gateway::start(&stand.lab, &options)?;
    let mut births = stand.births(context, flows)?;
    progress(&format!("scale: {flows} flows in a table for {size}"));
    stand::fill(&gateway, &mut births, 0, flows)?;
    let born = Instant::now();
    found.memory(size, &gateway, before)?;
    for question in verbs::QUESTIONS {
        progress(&format!("scale: {}", question.name));
        let sample = question.time(&stand.lab, &gateway, context.pick(3, 5))?;
        found.question(&question, flows, sample);
    }
    progress("scale: restarts");
    let mut ready = Vec::new();
    for _ in 0..context.pick(2, 5) {
        let (next, ms) = restart::adopt(stand, gateway, &options, &mut births)?;
        gateway = next;
        ready.push(ms);
    }
    found.start(&format!("adoption of {flows} flows after kill -9"), "adoption", &ready);
    let seen = collector::watch(&gateway, context.pick(Window::Pass, Window::Interval))?;
    found.collector(&format!("{flows} of {size}"), &format!("{flows}_of_{size}"), flows, &seen);
    if context.pick(false, true) {
        gateway = idle(stand, gateway, size, born, &mut births, found)?;
    }
    gateway.stop()?;
    Ok(())
}

/// All flows silent for so long that only what the other half has seen keeps them alive: the reaper looks at each.
fn idle<'lab>(
    stand: &'lab Stand,
    gateway: Gateway<'lab>,
    size: u32,
    born: Instant,
    births: &mut Births<'_>,
    found: &mut Found,
) -> Result<Gateway<'lab>> {
    // Not answered, they live for an hour; answered, they would be dead by now.
    let options = Stand::with_timeouts(Some(size), "udp = \"40s\"\n");
    std::thread::sleep(Duration::from_secs(41).saturating_sub(born.elapsed()));
    let (gateway, _) = restart::adopt(stand, gateway, &options, births)?;
    let seen = collector::watch(&gateway, Window::Interval)?;
    found.collector(&format!("{size} of {size}, long silent"), &format!("{size}_silent"), size, &seen);
    Ok(gateway)
}

/// A table for 4 million flows, as it fills.
fn filled(context: &Context, stand: &Stand, found: &mut Found) -> Result<()> {
    const SIZE: u32 = 4_000_000;
    let options = Stand::options(Some(SIZE));
    let before = Memory::settled()?;
    let mut gateway = Gateway::start(&stand.lab, &options)?;
    let mut births = stand.births(context, SIZE)?;
    let mut from = 0;
    for to in [250_000, 500_000, 1_000_000, 2_000_000, 3_000_000, 3_600_000, SIZE] {
        progress(&format!("scale: {to} of {SIZE} flows"));
        found.fill(&gateway, &mut births, from, to)?;
        if to == 1_000_000 {
            // The first pass begins with the daemon.
            gateway = restart::adopt(stand, gateway, &options, &mut births)?.0;
            let seen = collector::watch(&gateway, Window::Interval)?;
            found.collector(&format!("{to} of {SIZE}"), &format!("{to}_of_{SIZE}"), to, &seen);
            // Whoever adopts flows has them all look for their next hop again, which is not what is measured here.
            births.send(Order::Sequential, 0, to)?;
        }
        from = to;
    }
    found.memory(SIZE, &gateway, before)?;
    gateway = restart::adopt(stand, gateway, &options, &mut births)?.0;
    let seen = collector::watch(&gateway, Window::Interval)?;
    found.collector(&format!("{SIZE} of {SIZE}"), &format!("{SIZE}_of_{SIZE}"), SIZE, &seen);
    gateway.stop()?;
    Ok(())
}

/// The tables as they grow.
struct Found {
    memory: Table,
    fill: Table,
    collector: Table,
    questions: Table,
    starts: Table,
    findings: Vec<Finding>,
}

impl Found {
    fn new() -> Self {
        Self {
            memory: table(
                "scale_memory",
                "Kernel memory per flow that a table has room for, in bytes, asked in three ways; and the daemon's own, in MiB",
                "table for",
                &["slab + vmalloc + per-CPU", "BPF's areas", "maps' memlock", "daemon MiB"],
                "B",
            ),
            fill: Table {
                plot: Plot::Bars,
                ..table(
                    "scale_fill",
                    "One packet in the inside program as a table for 4 million flows fills, in nanoseconds",
                    "flows",
                    &["new flow", "flow at random"],
                    "ns",
                )
            },
            collector: table(
                "scale_collector",
                "The daemon with its collector: share of a core over 20 s, and one pass over the table",
                "flows",
                &["% of a core", "ms a pass", "s with pauses", "pace"],
                "",
            ),
            questions: Table {
                plot: Plot::LogBars,
                ..table(
                    "scale_questions",
                    "Until the answer is there, in milliseconds",
                    "question",
                    &["ms"],
                    "ms",
                )
            },
            starts: table("scale_starts", "From exec to `ready`, in milliseconds", "start", &["ms"], "ms"),
            findings: Vec::new(),
        }
    }

    fn start(&mut self, name: &str, id: &str, ready: &[f64]) {
        let sample = Sample::of(ready);
        self.starts.rows.push(Row { name: name.to_owned(), cells: vec![Cell::Sample(sample)] });
        let what = format!("from exec to ready, {name}, milliseconds");
        self.find(format!("scale/{id}_ms"), what, sample.median, Some(Target::AtMost(1000.0)));
    }

    fn question(&mut self, question: &verbs::Question, flows: u32, sample: Sample) {
        self.questions.caption = format!("Until the answer is there, with {flows} flows, in milliseconds");
        self.questions.rows.push(Row { name: question.name.to_owned(), cells: vec![Cell::Sample(sample)] });
        let what = format!("{} at {flows} flows, milliseconds", question.name);
        let target = question.target.map(Target::AtMost);
        self.find(format!("scale/{flows}/{}_ms", question.id), what, sample.median, target);
    }

    fn memory(&mut self, size: u32, gateway: &Gateway<'_>, before: Memory) -> Result<()> {
        let now = Memory::settled()?;
        let kernel = share(now.kernel - before.kernel, size)?;
        let areas = share(now.areas - before.areas, size)?;
        let maps = share(memory::of_maps(gateway.bpffs())?, size)?;
        let daemon = share(memory::resident(gateway.pid())?, 1 << 20)?;
        let numbers = [kernel, areas, maps, daemon];
        self.memory.rows.push(Row { name: size.to_string(), cells: numbers.map(Cell::Number).to_vec() });
        let what = format!("kernel memory per flow of a table for {size}, bytes");
        self.find(format!("scale/{size}/bytes_per_flow"), what, kernel, Some(Target::AtMost(300.0)));
        Ok(())
    }

    fn fill(&mut self, gateway: &Gateway<'_>, births: &mut Births<'_>, from: u32, to: u32) -> Result<()> {
        births.restrict(to);
        let birth = cost::per_packet(gateway, || births.send(Order::Sequential, from, to - from))?;
        stand::complete(gateway, births, from, to)?;
        let visit = cost::per_packet(gateway, || births.send(Order::Scattered, 0, VISITS))?;
        let cells = [birth, visit].map(Cell::Number).to_vec();
        self.fill.rows.push(Row { name: to.to_string(), cells });
        self.find(format!("scale/{to}/birth_ns"), format!("new flow, up to {to} flows, ns"), birth, None);
        self.find(format!("scale/{to}/visit_ns"), format!("flow at random among {to}, ns"), visit, None);
        Ok(())
    }

    fn collector(&mut self, name: &str, id: &str, flows: u32, seen: &collector::Seen) {
        let numbers = [100.0 * seen.share, seen.busy.as_secs_f64() * 1e3, seen.pass.as_secs_f64()];
        let mut cells = numbers.map(Cell::Number).to_vec();
        cells.push(Cell::Text(seen.pace.to_lowercase()));
        self.collector.rows.push(Row { name: name.to_owned(), cells });
        let target = (flows <= 1_000_000).then_some(Target::AtMost(3.0));
        let what = format!("the daemon, per cent of a core: {name} flows");
        self.find(format!("scale/{id}/collector_percent"), what, 100.0 * seen.share, target);
    }

    fn find(&mut self, id: String, what: String, value: f64, target: Option<Target>) {
        self.findings.push(Finding { id, what, value, target, compare: Compare::Never });
    }

    fn section(self) -> Section {
        let Self { memory, fill, collector, questions, starts, findings } = self;
        let tables = [memory, fill, collector, questions, starts].into_iter().filter(|t| !t.rows.is_empty());
        Section {
            id: "scale".to_owned(),
            title: "One million flows and more".to_owned(),
            notes: NOTES.map(str::to_owned).to_vec(),
            tables: tables.collect(),
            findings,
        }
    }
}

/// Bytes for each of so many; no process or map is so large that its KiB do not fit.
fn share(kib: i64, among: u32) -> Result<f64> {
    Ok(f64::from(i32::try_from(kib)?) * 1024.0 / f64::from(among))
}

const NOTES: [&str; 4] = [
    "Every flow is born of a packet of its own that goes through natgw's program on a veth: 64 sources, 1,024 \
     destinations, as many source ports as it takes, so that no destination is short of ports. Nothing expires \
     meanwhile.",
    "Memory is the difference between before natgw was started and after its flows were born, divided by the flows \
     that the table holds: whatever else the gateway needs is in it. Asked in three ways: /proc/meminfo, the areas of \
     BPF in /proc/vmallocinfo, and what the kernel accounts to natgw's maps.",
    "A packet's cost is what the kernel counts for the program while packets pass (bpf_stats), with its two readings \
     of the clock. \"At random\": each flow once before any twice, consecutive packets far apart in the table.",
    "A question's time is that of the whole process, from fork to the last byte. The daemon's share of a core is all \
     its CPU time, its system calls and runs of the reaper included.",
];

fn table(id: &str, caption: &str, key: &str, columns: &[&str], unit: &str) -> Table {
    Table {
        id: id.to_owned(),
        caption: caption.to_owned(),
        key: key.to_owned(),
        columns: columns.iter().map(|c| (*c).to_owned()).collect(),
        unit: unit.to_owned(),
        ..Table::default()
    }
}
