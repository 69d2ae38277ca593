//! Live flows, made the way clients make them: by their first packets, through natgw itself.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Result, ensure};
use aya::programs::ProgramFd;
use nat_common::stats::{Meter, Stats};

use super::driver::{Driver, Own};
use super::traffic::{Pair, Template, Traffic};
use crate::fixture::{Arrives, CLIENT_MAC, IN_MAC, OUT_MAC, ROUTER_MAC, Setup, World};
use crate::lab::{client_addr, eip};
use crate::packet::{Packet, flags};

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

/// Flows that exist, with the tuples of both directions.
#[derive(Debug)]
pub struct Population {
    kind: Kind,
    /// What arrives from inside, in the order of creation.
    pub out: Vec<Pair>,
    /// What arrives from outside, in the same order.
    pub back: Vec<Pair>,
}

impl Population {
    /// Nobody yet.
    pub fn new(kind: Kind) -> Self {
        Self { kind, out: Vec::new(), back: Vec::new() }
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
        let (inside, in_index) = target(world, self.kind.outbound())?;
        let (outside, out_index) = target(world, self.kind.inbound())?;
        let opening = Template::plain(&self.kind.packet_out(flags::SYN));
        let list = driver.list(&opening.visits(fresh)?)?;
        let into = driver.room_for(fresh.len())?;
        let mut traffic = Traffic::new(&opening, in_index, list)?;
        let before = world.stats()?;
        driver.harvest(&inside, &mut traffic, into)?;
        let harvested: Vec<Pair> = driver.visits(into)?.iter().map(|v| Pair::from(*v).reversed()).collect();
        ensure!(harvested.iter().all(|pair| *pair.to.ip() == eip(0)), "a packet left untranslated");
        forwarded(&before, &world.stats()?, Meter::SourceIn, fresh.len() as u64 + 1, fresh.len() as u64)?;
        self.back.extend(&harvested);

        driver.forget_lists();
        let answer = Template::plain(&self.kind.packet_in(flags::SYN | flags::ACK));
        let list = driver.list(&answer.visits(&harvested)?)?;
        let before = world.stats()?;
        let mut traffic = Traffic::new(&answer, out_index, list)?;
        driver.run(&outside, &mut traffic, list.count)?;
        forwarded(&before, &world.stats()?, Meter::DestinationIn, fresh.len() as u64, 0)?;
        insert(driver, &mut traffic)?;

        driver.forget_lists();
        let more = Template::plain(&self.kind.packet_out(flags::ACK));
        let list = driver.list(&more.visits(fresh)?)?;
        let before = world.stats()?;
        let mut traffic = Traffic::new(&more, in_index, list)?;
        driver.run(&inside, &mut traffic, list.count)?;
        forwarded(&before, &world.stats()?, Meter::SourceIn, fresh.len() as u64, 0)?;
        insert(driver, &mut traffic)
    }
}

/// Inserts all tuples of the traffic into the bare table.
fn insert(driver: &mut Driver, traffic: &mut Traffic) -> Result<()> {
    let before = driver.failures()?;
    let program = driver.target(Own::Insert)?;
    driver.run(&program, traffic, traffic.list.count)?;
    let failures = driver.failures()? - before;
    ensure!(failures == 0, "{failures} insertions into the bare table failed");
    Ok(())
}

/// One of natgw's programs as a tail call's target, and the interface that its packets arrive on.
pub fn target(world: &World, arrives: Arrives) -> Result<(ProgramFd, u32)> {
    let (program, index) = world.program(arrives)?;
    Ok((program.fd()?.try_clone()?, index))
}

/// Exactly so many packets were received and translated, and so many flows born; and nothing else happened.
pub fn forwarded(before: &Stats, after: &Stats, received: Meter, packets: u64, births: u64) -> Result<()> {
    let moved = difference(before, after);
    let sent = match received {
        Meter::SourceIn | Meter::DestinationOut => Meter::DestinationOut,
        Meter::DestinationIn | Meter::SourceOut => Meter::SourceOut,
    };
    let (came, went) = (moved.packets[received as usize], moved.packets[sent as usize]);
    let born = moved.births.iter().sum::<u64>();
    let drops = moved.drops.iter().sum::<u64>();
    ensure!(
        (came, went, born) == (packets, packets, births) && drops + moved.passed + moved.handovers == 0,
        "of {packets} packets {came} were received and {went} translated, {drops} dropped, {} left to the kernel \
         untranslated and {} translated; {born} flows were born, {births} expected",
        moved.passed,
        moved.handovers,
    );
    Ok(())
}

/// By how much each counter moved.
pub fn difference(before: &Stats, after: &Stats) -> Stats {
    let mut moved = *after;
    let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut moved));
    let earlier: &[u64] = bytemuck::cast_slice(std::slice::from_ref(before));
    for (word, earlier) in words.iter_mut().zip(earlier) {
        *word -= earlier;
    }
    moved
}
