//! What is measured, and how it is known to have happened.

use anyhow::{Result, ensure};
use aya::programs::ProgramFd;
use nat_common::Reason;
use nat_common::stats::Meter;

use super::driver::{Driver, Own};
use super::population::{Kind, Population, difference, forwarded, target};
use super::traffic::{Pair, Template, Traffic, shuffle};
use crate::fixture::World;
use crate::packet::flags;

/// What must have come of the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// None of natgw's programs ran.
    Nothing,
    /// Translated and sent.
    Sent(Meter),
    /// Dropped for this reason.
    Dropped(Reason),
}

/// One kind of packet through one program.
#[derive(Debug)]
pub struct Case {
    /// For findings.
    pub id: &'static str,
    /// For people.
    pub name: &'static str,
    /// Nanoseconds per packet, round by round, the driver's included.
    pub rounds: Vec<f64>,
    program: ProgramFd,
    traffic: Traffic,
    expect: Expect,
}

impl Case {
    /// One round.
    pub fn measure(&mut self, world: &World, driver: &mut Driver, repeat: u32) -> Result<()> {
        let time = self.run(world, driver, repeat)?;
        self.rounds.push(time);
        Ok(())
    }

    /// Brings the caches into the state that the case is about.
    pub fn warm_up(&mut self, world: &World, driver: &mut Driver) -> Result<()> {
        let repeat = self.traffic.list.count.clamp(2, 50_000);
        self.run(world, driver, repeat).map(drop)
    }

    /// The traffic.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn run(&mut self, world: &World, driver: &mut Driver, repeat: u32) -> Result<f64> {
        let (before, failures) = (world.stats()?, driver.failures()?);
        let timed = driver.run(&self.program, &mut self.traffic, repeat)?;
        let after = world.stats()?;
        let failed = driver.failures()? - failures;
        ensure!(failed == 0, "{}: {failed} packets not parsed, or not found in the bare table", self.name);
        let packets = u64::from(repeat);
        match self.expect {
            Expect::Nothing => ensure!(before == after, "{}: natgw's counters moved", self.name),
            Expect::Sent(meter) => forwarded(&before, &after, meter, packets, 0)?,
            Expect::Dropped(reason) => {
                let moved = difference(&before, &after);
                let (of_it, all) = (moved.drops[reason as usize], moved.drops.iter().sum::<u64>());
                ensure!(
                    (of_it, all) == (packets, packets) && moved.passed == 0,
                    "{}: of {packets} packets {of_it} were dropped as {}, {all} in all",
                    self.name,
                    reason.name()
                );
            }
        }
        Ok(timed.nanoseconds)
    }
}

/// Everything that is measured on a population: the driver alone first.
pub fn of(world: &World, driver: &mut Driver, people: &Population, kind: Kind) -> Result<Vec<Case>> {
    let (inside, in_index) = target(world, kind.outbound())?;
    let (outside, out_index) = target(world, kind.inbound())?;
    driver.forget_lists();
    let out = traffic(driver, &Template::plain(&kind.packet_out(flags::ACK)), in_index, &people.out, 1)?;
    let back = traffic(driver, &Template::plain(&kind.packet_in(flags::ACK)), out_index, &people.back, 2)?;
    let mut cases = Vec::new();
    for (id, name, own) in [
        ("driver", "empty program", Own::Empty),
        ("parse", "parse only", Own::Parse),
        ("lookup", "parse + bare lookup", Own::Lookup),
    ] {
        let program = driver.target(own)?;
        cases.push(Case {
            id,
            name,
            rounds: Vec::new(),
            program,
            traffic: out.clone(),
            expect: Expect::Nothing,
        });
    }
    let mut natgw = |id, name, program: &ProgramFd, traffic, expect| -> Result<()> {
        let program = program.try_clone()?;
        cases.push(Case { id, name, rounds: Vec::new(), program, traffic, expect });
        Ok(())
    };
    let (sent_out, sent_in) = (Expect::Sent(Meter::SourceIn), Expect::Sent(Meter::DestinationIn));
    match kind {
        Kind::Udp => {
            natgw("udp_out", "natgw: UDP hit, out", &inside, out, sent_out)?;
            natgw("udp_in", "natgw: UDP hit, in", &outside, back, sent_in)?;
        }
        Kind::Tcp => {
            natgw("tcp_out", "natgw: TCP hit, out", &inside, out, sent_out)?;
            natgw("tcp_in", "natgw: TCP hit, in", &outside, back, sent_in)?;
        }
        Kind::OneArmed => {
            natgw("onearm_out", "natgw: one-armed hit, out", &inside, out, sent_out)?;
            natgw("onearm_in", "natgw: one-armed hit, in", &outside, back, sent_in)?;
        }
    }
    Ok(cases)
}

fn traffic(
    driver: &mut Driver,
    template: &Template,
    ifindex: u32,
    pairs: &[Pair],
    seed: u64,
) -> Result<Traffic> {
    let mut visits = template.visits(pairs)?;
    shuffle(&mut visits, seed);
    let list = driver.list(&visits)?;
    Traffic::new(template, ifindex, list)
}
