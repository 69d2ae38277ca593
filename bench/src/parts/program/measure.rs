//! Rounds: every case in turn, again and again, so that what disturbs the machine disturbs all alike.

use anyhow::{Context as _, Result, anyhow};
use nat_tests::fixture::World;

use super::cases::{self, DRIVER, LOOKUP, Series};
use super::driver::{Driver, Own, Room};
use super::population::{self, Kind, Population};
use super::tally::Fate;
use crate::context::{Context, progress};

/// Entries of natgw's table and of the bare one: a gateway for a million flows, as is the default, and newcomers.
pub const ENTRIES: u32 = 1 << 21;

/// Lists that hold a visit for every flow: see [`cases::of`].
const LISTS: u32 = 5;

/// A population that is measured at several sizes.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What kind of flows.
    pub kind: Kind,
    /// How many, in growing order.
    pub sizes: &'static [u32],
    /// How long a series is, and how many there are.
    pub series: Series,
}

/// What was measured at one size.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Live flows.
    pub flows: u32,
    /// Nanoseconds of the empty program without the driver, round by round.
    pub plain: Vec<f64>,
    /// The cases, in the order in which they are shown.
    pub cases: Vec<Measured>,
}

/// What was measured of one case.
#[derive(Clone, Debug)]
pub struct Measured {
    /// For findings.
    pub id: &'static str,
    /// For people.
    pub name: String,
    /// What became of the packets.
    pub fate: Option<Fate>,
    /// Nanoseconds per packet, round by round, the driver's included.
    pub raw: Vec<f64>,
    /// The same without the driver's: minus the driver with an empty program, plus an empty program alone (the medians
    /// of both).
    pub net: Vec<f64>,
}

impl Stage {
    /// The case with this name.
    pub fn case(&self, id: &str) -> Option<&Measured> {
        self.cases.iter().find(|c| c.id == id)
    }
}

/// Measures a population at all its sizes, on a thread of its own.
pub fn run(context: &Context, plan: Plan) -> Result<Vec<Stage>> {
    on_a_thread(|| stages(context, plan))
}

/// Runs `f` on a thread that may be moved into a namespace and onto a CPU.
pub fn on_a_thread<T: Send>(f: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|s| s.spawn(f).join().map_err(|_| anyhow!("the measuring thread panicked"))?)
}

/// The CPU to measure on: the last one, for interrupts tend to go to the first.
pub fn cpu() -> usize {
    std::thread::available_parallelism().map_or(0, |n| n.get() - 1)
}

fn stages(context: &Context, plan: Plan) -> Result<Vec<Stage>> {
    // One flow costs the same in a table of any size, and a small one is there at once.
    let largest = plan.sizes.last().copied().unwrap_or(1);
    let entries = if largest == 1 { 1 << 16 } else { ENTRIES };
    let world = World::new(plan.kind.setup(entries))?;
    population::route_to_clients(&world)?;
    let _lane = world.lane(cpu())?;
    let visits = largest * LISTS + (plan.series.rounds + 1) * plan.series.births + 1;
    let mut driver = Driver::load(&context.bench_object, Room { visits, bare_entries: entries })?;
    let mut people = Population::new(plan.kind);
    let mut stage = |flows: &u32| {
        progress(&format!("program: {}, {flows} live flows", plan.kind.name()));
        people.grow(&world, &mut driver, *flows)?;
        stage(&world, &mut driver, &mut people, plan.series)
    };
    plan.sizes.iter().map(|n| stage(n).with_context(|| format!("{}, {n} flows", plan.kind.name()))).collect()
}

fn stage(world: &World, driver: &mut Driver, people: &mut Population, series: Series) -> Result<Stage> {
    let mut cases = cases::of(world, driver, people, series)?;
    let traffic = cases.first().context("nothing to measure")?.traffic().clone();
    driver.calibrate(&traffic)?;
    for case in &mut cases {
        case.warm_up(world, driver, series)?;
    }
    let flows = people.out.len() as u32;
    let mut plain = Vec::new();
    let lasting = (series.time.as_secs_f64() * 1e9 / 6.0) as u32;
    for _ in 0..series.rounds {
        driver.calibrate(&traffic)?;
        plain.push(driver.run_alone(Own::Empty, &traffic, lasting.max(series.packets))?.nanoseconds);
        for case in &mut cases {
            case.measure(world, driver)?;
        }
    }
    let driver = &cases.iter().find(|c| c.id == DRIVER).context("no driver")?.rounds;
    let excess = median(driver) - median(&plain);
    let net = |raw: &[f64]| raw.iter().map(|n| n - excess).collect();
    let cases = cases
        .into_iter()
        .map(|c| Measured { id: c.id, fate: c.fate(), net: net(&c.rounds), name: c.name, raw: c.rounds })
        .collect();
    Ok(Stage { flows, plain, cases })
}

/// By how much a case costs more at a stage than hot, for each nanosecond that the bare lookup costs more.
pub fn increase_ratio(hot: &Stage, cold: &Stage, id: &str) -> Option<f64> {
    let increase = |id| Some(median(&cold.case(id)?.raw) - median(&hot.case(id)?.raw));
    Some(increase(id)? / increase(LOOKUP)?)
}

/// The middle value.
pub fn median(values: &[f64]) -> f64 {
    crate::report::section::Sample::of(values).median
}
