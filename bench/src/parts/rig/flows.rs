//! Establishes flows: a packet out and an answer back, for every flow, through the gateway itself.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::addresses::EIP;
use super::cpus;
use super::gateways::{Gateway, Kind};
use super::natgw;
use super::objects::{Counter, Objects, Program};
use super::plan::SMALL;
use super::traffic;
use crate::{conntrack, cores};

/// Makes the flows of a range known to a gateway that keeps flows.
pub fn establish(objects: &mut Objects, gateway: &mut Gateway<'_>, range: Range<u32>) -> Result<()> {
    let what = format!("flows {range:?} of `{}`", gateway.kind.id());
    if gateway.kind == Kind::Lookup {
        return objects.fill_table(range, EIP.parse::<Ipv4Addr>()?.into()).context(what);
    }
    if !gateway.kind.is_nat() {
        return Ok(());
    }
    let end = range.end;
    converse(objects, gateway, range).with_context(|| what.clone())?;
    expect_flows(gateway, end).context(what)
}

/// Fails unless the gateway holds exactly so many flows, if it holds flows at all.
pub fn expect_flows(gateway: &Gateway<'_>, flows: u32) -> Result<()> {
    let known = match (gateway.kind, &gateway.natgw) {
        (Kind::Natgw, Some(natgw)) => natgw::flows(natgw)?,
        (Kind::Nft, _) => conntrack::connections(gateway.ns)?,
        _ => return Ok(()),
    };
    ensure!(known == u64::from(flows), "`{}` holds {known} flows, not {flows}", gateway.kind.id());
    Ok(())
}

/// Until every packet of a whole pass is answered: in the first pass flows come into being.
fn converse(objects: &mut Objects, gateway: &mut Gateway<'_>, range: Range<u32>) -> Result<()> {
    let packets = range.len();
    objects.set_course(&traffic::greetings(range))?;
    objects.replace(&mut gateway.far, Program::Answer)?;
    objects.aim(gateway.target(), 0)?;
    let mut answered = 0;
    for _ in 0..4 {
        answered = pass(objects, packets)?;
        if answered == packets {
            break;
        }
    }
    ensure!(answered == packets, "{answered} of {packets} packets were answered");
    objects.replace(&mut gateway.far, Program::Receive)
}

/// Sends the whole list once; the number of answers.
///
/// With everything on one CPU, each batch has gone its way before the next is made, so nothing overflows.
fn pass(objects: &Objects, packets: usize) -> Result<usize> {
    let before = objects.count(Counter::Answered)?;
    std::thread::scope(|s| {
        let generator = s.spawn(|| -> Result<()> {
            cores::pin(0, cpus::GENERATOR)?;
            objects.generate(SMALL, u32::try_from(packets)?)
        });
        generator.join().unwrap_or_else(|p| std::panic::resume_unwind(p))
    })?;
    let deadline = Instant::now() + Duration::from_millis(20);
    loop {
        let answered = usize::try_from(objects.count(Counter::Answered)? - before)?;
        if answered >= packets || Instant::now() > deadline {
            return Ok(answered);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}
