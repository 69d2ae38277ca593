//! Live flows, made the way clients make them: by their first packets, through natgw itself.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use aya::programs::ProgramFd;
use nat_tests::fixture::{Arrives, CLIENT_MAC, IN_MAC, OUT_MAC, ROUTER_MAC, Setup, World};
use nat_tests::lab::{client_addr, eip};
use nat_tests::packet::{Packet, flags};

use super::driver::{Driver, Own};
use super::tally::{Fate, Tally};
use super::traffic::{Pair, Template, Traffic};

/// Clients that the flows belong to: one behind the other, all by way of the first client of the lab.
const CLIENTS: u32 = 4093;

/// Remote hosts, each with an equal share of the flows: a million flows take a quarter of each one's ports.
const REMOTES: u32 = 64;

/// What kind of flows, through what kind of gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// UDP, two interfaces.
    Udp,
    /// Established TCP connections, two interfaces.
    Tcp,
    /// UDP, one interface.
    OneArmed,
}

impl Kind {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::OneArmed => "UDP, one-armed",
        }
    }

    /// What the world around the programs looks like.
    pub fn setup(self, entries: u32) -> Setup {
        let one_armed = self == Self::OneArmed;
        Setup { ports: (1024, 65_535), entries, one_armed, ..Setup::default() }
    }

    /// Where packets from inside arrive.
    pub const fn outbound(self) -> Arrives {
        match self {
            Self::OneArmed => Arrives::OneArm,
            _ => Arrives::Inside,
        }
    }

    /// Where packets from outside arrive.
    pub const fn inbound(self) -> Arrives {
        match self {
            Self::OneArmed => Arrives::OneArm,
            _ => Arrives::Outside,
        }
    }

    /// A packet from inside; TCP with these flags. 60 bytes, the least that Ethernet carries, without its checksum.
    pub fn packet_out(self, flags: u8) -> Packet {
        let pair = flow(0);
        let packet = match self {
            Self::Tcp => Packet::tcp(pair.from, pair.to, flags).payload([0; 6]),
            _ => Packet::udp(pair.from, pair.to).payload([0; 18]),
        };
        packet.macs(CLIENT_MAC, IN_MAC)
    }

    /// A packet from outside.
    pub fn packet_in(self, flags: u8) -> Packet {
        let to_eip = SocketAddrV4::new(eip(0), 1024);
        let packet = match self {
            Self::Tcp => Packet::tcp(flow(0).to, to_eip, flags).payload([0; 6]),
            _ => Packet::udp(flow(0).to, to_eip).payload([0; 18]),
        };
        packet.macs(ROUTER_MAC, if self == Self::OneArmed { IN_MAC } else { OUT_MAC })
    }
}

/// The `n`-th flow as its client sees it.
fn flow(n: u32) -> Pair {
    let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 64, 1, 0)) + n % CLIENTS);
    let remote = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 18, 0, 1)) + n % REMOTES);
    let sport = 10_000 + (n / CLIENTS) as u16;
    Pair { from: SocketAddrV4::new(client, sport), to: SocketAddrV4::new(remote, 443) }
}

/// A route to the clients that have no cable of their own.
pub fn route_to_clients(world: &World) -> Result<()> {
    world.gw().ip(&format!("route add 10.64.0.0/10 via {} dev in0", client_addr(0)))
}

/// The `n`-th tuple that has never been seen, to one of `remotes` destinations in turn.
pub fn newcomer(n: u32, remotes: u32) -> Pair {
    let client = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 1, 0)) + n % CLIENTS);
    let remote = Ipv4Addr::from(u32::from(Ipv4Addr::new(198, 19, 0, 1)) + n % remotes);
    let sport = 10_000 + (n / CLIENTS) as u16;
    Pair { from: SocketAddrV4::new(client, sport), to: SocketAddrV4::new(remote, 443) }
}

/// Flows that exist, with the tuples of both directions.
#[derive(Debug)]
pub struct Population {
    kind: Kind,
    /// What arrives from inside, in the order of creation.
    pub out: Vec<Pair>,
    /// What arrives from outside, in the same order.
    pub back: Vec<Pair>,
    /// How many newcomers have come so far.
    pub newcomers: u32,
}

impl Population {
    /// Nobody yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, out: Vec::new(), back: Vec::new(), newcomers: 0 }
    }

    /// What kind of flows.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Creates flows until there are `count`, answered and, TCP, established; the bare table gets the same tuples.
    pub fn grow(&mut self, world: &World, driver: &mut Driver, count: u32) -> Result<()> {
        let first = self.out.len();
        self.out.extend((first as u32..count).map(flow));
        let fresh = self.out.get(first..).unwrap_or_default();
        if fresh.is_empty() {
            return Ok(());
        }
        driver.forget_lists();
        let opening = Template::plain(&self.kind.packet_out(flags::SYN));
        let list = driver.list(&opening.visits(fresh)?)?;
        let into = driver.room_for(fresh.len())?;
        let (program, index) = target(world, self.kind.outbound())?;
        let mut traffic = Traffic::new(&opening, index, list)?;
        let before = world.stats()?;
        driver.harvest(&program, &mut traffic, into)?;
        let births = fresh.len() as u64;
        // The first came twice.
        let expected = Tally { sent_out: births + 1, births, ..Tally::default() };
        Tally::since(&before, world)?.expect(&expected).context("create flows")?;
        let harvested: Vec<Pair> = driver.visits(into)?.iter().map(|v| Pair::from(*v).reversed()).collect();
        ensure!(harvested.iter().all(|pair| *pair.to.ip() == eip(0)), "a packet left untranslated");

        let answer = Template::plain(&self.kind.packet_in(flags::SYN | flags::ACK));
        once_each(world, driver, self.kind.inbound(), &answer, &harvested).context("answer flows")?;
        let more = Template::plain(&self.kind.packet_out(flags::ACK));
        once_each(world, driver, self.kind.outbound(), &more, fresh).context("go on with flows")?;
        self.back.extend(harvested);
        Ok(())
    }
}

/// One packet of each flow through natgw, and its tuple into the bare table.
fn once_each(
    world: &World,
    driver: &mut Driver,
    arrives: Arrives,
    template: &Template,
    pairs: &[Pair],
) -> Result<()> {
    driver.forget_lists();
    let list = driver.list(&template.visits(pairs)?)?;
    let (program, index) = target(world, arrives)?;
    let mut traffic = Traffic::new(template, index, list)?;
    let (before, packets) = (world.stats()?, u64::from(list.count));
    driver.run(&program, &mut traffic, list.count)?;
    let fate = Tally::since(&before, world)?.fate(packets)?;
    ensure!(matches!(fate, Fate::SentOut | Fate::SentIn), "all {packets} packets were {fate}");

    let failures = driver.failures()?;
    let insert = driver.target(Own::Insert)?;
    driver.run(&insert, &mut traffic, list.count)?;
    let failed = driver.failures()? - failures;
    ensure!(failed == 0, "{failed} insertions into the bare table failed");
    Ok(())
}

/// One of natgw's programs as a tail call's target, and the interface that its packets arrive on.
pub fn target(world: &World, arrives: Arrives) -> Result<(ProgramFd, u32)> {
    let (program, index) = world.program(arrives)?;
    Ok((program.fd()?.try_clone()?, index))
}
