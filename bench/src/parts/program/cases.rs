//! What is measured on a population, and how it is known to have happened.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use nat_common::Reason;
use nat_tests::fixture::{OUT_MAC, ROUTER_MAC, World};
use nat_tests::lab::{EVIL, eip};
use nat_tests::packet::{ETH, Packet, Parsed, flags};

use super::driver::{Driver, Own};
use super::population::{Kind, Population, newcomer, target};
use super::tally::{Fate, Tally};
use super::traffic::{Pair, Random, Template, Traffic, shuffle};

/// Remote hosts that newcomers go to: so many that their ports stay free.
const NEW_REMOTES: u32 = 64;

/// The driver alone, with the empty program: the first case of every population.
pub const DRIVER: &str = "driver";
/// Parsing and a lookup in a kernel hash table.
pub const LOOKUP: &str = "lookup";

/// How many packets make a series.
#[derive(Clone, Copy, Debug)]
pub struct Series {
    /// At least so many.
    pub packets: u32,
    /// And for at least this long.
    pub time: Duration,
    /// Packets that each start a flow, where that is what is measured.
    pub births: u32,
    /// Series that are measured, the warm-up not counted.
    pub rounds: u32,
}

/// One kind of packet through one program.
#[derive(Debug)]
pub struct Case {
    /// For findings.
    pub id: &'static str,
    /// For people.
    pub name: String,
    /// Nanoseconds per packet, round by round, the driver's included.
    pub rounds: Vec<f64>,
    /// What becomes of every packet; `None` before the first series where it is left open.
    fate: Option<Fate>,
    program: ProgramFd,
    traffic: Traffic,
    packets: u32,
}

impl Case {
    /// Looks at one packet before and after, brings the caches into the state that the case is about, and finds out
    /// how many packets a series needs.
    pub fn warm_up(&mut self, world: &World, driver: &mut Driver, series: Series) -> Result<()> {
        let empty = driver.target(Own::Empty)?;
        let (_, frame) = driver.look(&empty, &mut self.traffic.clone())?;
        intact(&frame).with_context(|| format!("{}: what the driver makes", self.name))?;
        let (_, frame) = driver.look(&self.program, &mut self.traffic)?;
        intact(&frame).with_context(|| format!("{}: what comes out", self.name))?;
        if self.fate == Some(Fate::Born) {
            self.packets = series.births;
            return self.run(world, driver).map(drop);
        }
        self.packets = self.traffic.list.count.clamp(1000, 50_000);
        let nanoseconds = self.run(world, driver)?;
        let lasting = series.time.as_secs_f64() * 1e9 / nanoseconds.max(1.0);
        self.packets = (lasting as u32).max(series.packets);
        Ok(())
    }

    /// One round.
    pub fn measure(&mut self, world: &World, driver: &mut Driver) -> Result<()> {
        let time = self.run(world, driver)?;
        self.rounds.push(time);
        Ok(())
    }

    /// The traffic.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// What became of every packet.
    pub fn fate(&self) -> Option<Fate> {
        self.fate
    }

    fn run(&mut self, world: &World, driver: &mut Driver) -> Result<f64> {
        let (before, failures) = (world.stats()?, driver.failures()?);
        let timed = driver.run(&self.program, &mut self.traffic, self.packets)?;
        let failed = driver.failures()? - failures;
        ensure!(failed == 0, "{}: {failed} packets not parsed, or not found in the bare table", self.name);
        let tally = Tally::since(&before, world)?;
        let fate = tally.fate(u64::from(self.packets)).with_context(|| self.name.clone())?;
        let expected = *self.fate.get_or_insert(fate);
        ensure!(fate == expected, "{}: packets were {fate}; expected {expected}", self.name);
        Ok(timed.nanoseconds)
    }
}

/// Whether a frame's checksums are right.
fn intact(frame: &[u8]) -> Result<()> {
    let parsed = Parsed::from_frame(frame).context("not IPv4")?;
    ensure!(parsed.checksums_ok(), "{parsed}");
    Ok(())
}

/// Everything that is measured on a population, the driver alone first. Forgets all earlier lists.
pub fn of(world: &World, driver: &mut Driver, people: &mut Population, series: Series) -> Result<Vec<Case>> {
    let kind = people.kind();
    let (inside, in_index) = target(world, kind.outbound())?;
    let (outside, out_index) = target(world, kind.inbound())?;
    driver.forget_lists();
    let template_out = Template::plain(&kind.packet_out(flags::ACK));
    let template_in = Template::plain(&kind.packet_in(flags::ACK));
    let out = at_random(driver, &template_out, in_index, &people.out, 1)?;
    let back = at_random(driver, &template_in, out_index, &people.back, 2)?;
    let mut cases = Vec::new();
    let mut add = |id, name: &str, program: &ProgramFd, traffic: &Traffic, fate| -> Result<()> {
        let (program, traffic) = (program.try_clone()?, traffic.clone());
        cases.push(Case {
            id,
            name: name.to_owned(),
            rounds: Vec::new(),
            fate,
            program,
            traffic,
            packets: 0,
        });
        Ok(())
    };
    for (id, name, own) in [
        (DRIVER, "empty program", Own::Empty),
        ("parse", "parse", Own::Parse),
        (LOOKUP, "parse, kernel hash lookup", Own::Lookup),
    ] {
        add(id, name, &driver.target(own)?, &out, Some(Fate::Unseen))?;
    }
    let (sent_out, sent_in) = (Some(Fate::SentOut), Some(Fate::SentIn));
    match kind {
        Kind::Udp => {
            add("udp_out", "natgw: hit, UDP, out", &inside, &out, sent_out)?;
            add("udp_in", "natgw: hit, UDP, in", &outside, &back, sent_in)?;
            let scan = at_random(driver, &template_in, out_index, &strangers(people.out.len()), 3)?;
            add(
                "miss",
                "natgw: miss, from outside",
                &outside,
                &scan,
                Some(Fate::Dropped(Reason::UnsolicitedInbound)),
            )?;
            let newcomers = newcomers(driver, people, in_index, series)?;
            add("new_flow", "natgw: new flow", &inside, &newcomers, Some(Fate::Born))?;
            // What becomes of these is natgw's to decide, as long as it decides alike about all.
            let embedded: Vec<Pair> = people.back.iter().map(|pair| pair.reversed()).collect();
            let errors = at_random(driver, &icmp_error(), out_index, &embedded, 4)?;
            add("icmp_error", "natgw: ICMP error about a flow", &outside, &errors, None)?;
            let fragment = kind.packet_out(0).with(|p| (p.df, p.mf) = (false, true));
            let fragments = at_random(driver, &Template::plain(&fragment), in_index, &people.out, 5)?;
            add("fragment", "natgw: first fragment, from inside", &inside, &fragments, None)?;
        }
        Kind::Tcp => {
            add("tcp_out", "natgw: hit, TCP, out", &inside, &out, sent_out)?;
            add("tcp_in", "natgw: hit, TCP, in", &outside, &back, sent_in)?;
            let unknown: Vec<Pair> = (0..people.out.len() as u32).map(|n| newcomer(n, NEW_REMOTES)).collect();
            let unknown = at_random(driver, &template_out, in_index, &unknown, 6)?;
            add(
                "no_flow",
                "natgw: miss, TCP ACK from inside",
                &inside,
                &unknown,
                Some(Fate::Dropped(Reason::NoFlow)),
            )?;
        }
        Kind::OneArmed => {
            add("onearm_out", "natgw: hit, one-armed, out", &inside, &out, sent_out)?;
            add("onearm_in", "natgw: hit, one-armed, in", &outside, &back, sent_in)?;
        }
    }
    Ok(cases)
}

fn at_random(
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

/// Packets that each start a flow: enough for all rounds, the warm-up, and the look before it.
fn newcomers(driver: &mut Driver, people: &mut Population, ifindex: u32, series: Series) -> Result<Traffic> {
    let count = (series.rounds + 1) * series.births + 1;
    let fresh: Vec<Pair> =
        (people.newcomers..).take(count as usize).map(|n| newcomer(n, NEW_REMOTES)).collect();
    people.newcomers += count;
    let template = Template::plain(&Kind::Udp.packet_out(0));
    let list = driver.list(&template.visits(&fresh)?)?;
    Traffic::new(&template, ifindex, list)
}

/// Senders that nobody has asked anything.
fn strangers(count: usize) -> Vec<Pair> {
    let mut random = Random(0x5ca7);
    let mut one = || {
        let n = random.next();
        let from = SocketAddrV4::new(Ipv4Addr::new(203, 0, (n >> 8) as u8, n as u8), (n >> 16) as u16);
        Pair { from, to: SocketAddrV4::new(eip(0), (n >> 32) as u16 | 1024) }
    };
    (0..count).map(|_| one()).collect()
}

/// A router's word that a packet of a flow did not get through.
fn icmp_error() -> Template {
    let lost = Packet::udp(SocketAddrV4::new(eip(0), 1024), SocketAddrV4::new(EVIL, 443)).build();
    let embedded = lost.get(ETH..ETH + 28).unwrap_or_default();
    let error = Packet::icmp(EVIL, eip(0), 3, 1, [0; 4]).payload(embedded).macs(ROUTER_MAC, OUT_MAC);
    Template::icmp_error(&error)
}
