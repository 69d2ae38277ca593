//! What a new flow costs as its destination runs out of ports, and what CPU one can take with asking for more.

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use nat_common::Reason;
use nat_common::settings::PROBE_BUDGET;
use nat_tests::fixture::{Setup, World};

use super::driver::{Driver, Own, Room};
use super::measure::{self, ENTRIES, cpu, on_a_thread};
use super::population::{self, Kind, Population, newcomer, target};
use super::tally::Tally;
use super::traffic::{Pair, Template, Traffic};
use crate::context::{Context, progress};

/// Destinations that fill up together: so many that a series of claims hardly changes how full they are.
const REMOTES: u32 = 8;

/// Ports of the EIP, and so flows to one destination.
const PORTS: u32 = 64_512;

/// Flows to other destinations: the table is never empty.
const OTHERS: u32 = 500_000;

/// Claims that are timed one by one.
const SINGLE: u32 = 400;

/// What was measured at one level.
#[derive(Clone, Debug)]
pub struct Level {
    /// Per cent of the destinations' ports that are taken.
    pub percent: u32,
    /// Nanoseconds per packet in series, round by round, the driver's included.
    pub rounds: Vec<f64>,
    /// Nanoseconds of single packets, sorted.
    pub single: Vec<f64>,
    /// Ports looked at per packet.
    pub probes: f64,
    /// Share of the packets that got no port.
    pub refused: f64,
}

/// What someone can have who asks for ports that are not there.
#[derive(Clone, Copy, Debug)]
pub struct Attack {
    /// Nanoseconds per refused packet once this second's probes are used up, the driver's included.
    pub refusal: f64,
    /// Nanoseconds per probe.
    pub probe: f64,
    /// Probes that one CPU grants per second.
    pub budget: u32,
}

/// What was found.
#[derive(Clone, Debug)]
pub struct Claims {
    /// From empty to full.
    pub levels: Vec<Level>,
    /// At 100 %.
    pub attack: Attack,
    /// Nanoseconds of the driver with an empty program.
    pub driver: f64,
    /// Flows to other destinations.
    pub others: u32,
}

/// Measures.
pub fn run(context: &Context, rounds: u32) -> Result<Claims> {
    on_a_thread(|| measure(context, rounds))
}

/// How full, and how many claims make a series to each destination: what moves the level by less than a tenth of the
/// free ports in all rounds together.
const LEVELS: [(u32, u32); 5] = [(0, 300), (50, 150), (90, 60), (99, 8), (100, 60)];

fn measure(context: &Context, rounds: u32) -> Result<Claims> {
    let setup = Setup { probe_budget: u32::MAX, ..Kind::Udp.setup(ENTRIES) };
    let world = World::new(setup)?;
    population::route_to_clients(&world)?;
    let _lane = world.lane(cpu())?;
    let mut driver = Driver::load(&context.bench_object, Room { visits: 1_100_000, bare_entries: ENTRIES })?;
    progress("program: port claims");
    Population::new(Kind::Udp).grow(&world, &mut driver, OTHERS)?;
    let (program, ifindex) = target(&world, Kind::Udp.outbound())?;
    let mut claimants = Claimants { world: &world, driver, program, ifindex, seen: 0, born: 0 };
    let mut levels = Vec::new();
    for (percent, claims) in LEVELS {
        claimants
            .fill(PORTS * percent / 100)
            .with_context(|| format!("fill a destination to {percent} %"))?;
        levels.push(claimants.level(percent, claims, rounds)?);
    }
    let full = levels.last().context("no level")?;
    let (all_probes, cost) = (full.probes, measure::median(&full.rounds));
    world.set_probe_budget(0)?;
    let refusal = measure::median(&claimants.level(100, 10_000, rounds)?.rounds);
    let attack = Attack { refusal, probe: (cost - refusal) / all_probes, budget: PROBE_BUDGET };
    let driver = claimants.driver_alone(rounds)?;
    Ok(Claims { levels, attack, driver, others: OTHERS })
}

/// Clients that want ports.
struct Claimants<'world> {
    world: &'world World,
    driver: Driver,
    program: ProgramFd,
    ifindex: u32,
    /// Tuples that have come so far.
    seen: u32,
    /// Flows that came of them.
    born: u64,
}

impl Claimants<'_> {
    /// The next `count` tuples, to each destination in turn.
    fn next(&mut self, count: u32) -> Result<Traffic> {
        let fresh: Vec<Pair> = (self.seen..self.seen + count).map(|n| newcomer(n, REMOTES)).collect();
        self.seen += count;
        self.driver.forget_lists();
        let template = Template::plain(&Kind::Udp.packet_out(0));
        let list = self.driver.list(&template.visits(&fresh)?)?;
        Traffic::new(&template, self.ifindex, list)
    }

    /// Lets `claim` put packets through natgw: each starts a flow or is refused. How many were refused.
    fn claim<T>(
        &mut self,
        count: u32,
        claim: impl FnOnce(&mut Driver, &ProgramFd, &mut Traffic) -> Result<T>,
    ) -> Result<(T, u64)> {
        let mut traffic = self.next(count)?;
        let before = self.world.stats()?;
        let result = claim(&mut self.driver, &self.program, &mut traffic)?;
        let tally = Tally::since(&before, self.world)?;
        let refused = u64::from(count) - tally.births;
        let dropped = if refused > 0 { vec![(Reason::PortExhausted, refused)] } else { Vec::new() };
        tally.expect(&Tally { sent_out: tally.births, births: tally.births, dropped, ..Tally::default() })?;
        self.born += tally.births;
        Ok((result, refused))
    }

    /// Takes ports until each destination has so many flows.
    fn fill(&mut self, ports: u32) -> Result<()> {
        let wanted = u64::from(ports) * u64::from(REMOTES);
        // The last ports are found only by walks that cover the whole range bit by bit.
        for _ in 0..100 {
            let missing = u32::try_from(wanted.saturating_sub(self.born))?;
            if missing == 0 {
                return Ok(());
            }
            let asking = if ports == PORTS { missing.max(4096) } else { missing };
            self.claim(asking, |driver, program, traffic| driver.run(program, traffic, asking))?;
        }
        anyhow::bail!("{} of {wanted} flows, and no end of it", self.born)
    }

    fn level(&mut self, percent: u32, claims: u32, rounds: u32) -> Result<Level> {
        let count = claims * REMOTES;
        let probes = self.world.stats()?.probes;
        let (mut times, mut refusals) = (Vec::new(), 0);
        for _ in 0..rounds {
            let (timed, refused) =
                self.claim(count, |driver, program, traffic| driver.run(program, traffic, count))?;
            times.push(timed.nanoseconds);
            refusals += refused;
        }
        let packets = f64::from(count * rounds);
        let probes = float(self.world.stats()?.probes - probes)? / packets;
        let (singles, _) =
            self.claim(SINGLE, |driver, program, traffic| driver.run_singly(program, traffic, SINGLE))?;
        let mut single: Vec<f64> = singles.iter().map(|t| t.nanoseconds).collect();
        single.sort_by(f64::total_cmp);
        let refused = float(refusals)? / packets;
        let are_all = refusals == u64::from(count) * u64::from(rounds);
        ensure!(are_all == (percent == 100), "{refusals} claims refused at {percent} %");
        Ok(Level { percent, rounds: times, single, probes, refused })
    }

    fn driver_alone(&mut self, rounds: u32) -> Result<f64> {
        let mut traffic = self.next(1000)?;
        let empty = self.driver.target(Own::Empty)?;
        let mut times = Vec::new();
        for _ in 0..rounds {
            self.driver.calibrate(&traffic)?;
            times.push(self.driver.run(&empty, &mut traffic, 1_000_000)?.nanoseconds);
        }
        Ok(measure::median(&times))
    }
}

/// Counts of a measurement fit 32 bits.
fn float(count: u64) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?))
}
