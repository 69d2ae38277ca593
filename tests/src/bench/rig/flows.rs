//! Establishes flows: a packet out and an answer back, for every flow, through the gateway itself.

use std::net::Ipv4Addr;
use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::gateways::{EIP, Gateway, Kind};
use super::nft;
use super::objects::{Counter, Objects, Program};
use super::plan::SMALL;
use super::traffic;

/// Frames under way at once: fewer than a veth's ring holds.
const CHUNK: u32 = 128;

/// Makes the flows of a range known to a gateway that keeps flows.
pub fn establish(objects: &mut Objects, gateway: &mut Gateway, range: Range<u32>) -> Result<()> {
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
pub fn expect_flows(gateway: &Gateway, flows: u32) -> Result<()> {
    let known = match (gateway.kind, &gateway.natgw) {
        (Kind::Natgw, Some(natgw)) => natgw.flows(&gateway.ns)?,
        (Kind::Nft, _) => nft::connections(&gateway.ns)?,
        _ => return Ok(()),
    };
    ensure!(known == u64::from(flows), "`{}` holds {known} flows, not {flows}", gateway.kind.id());
    Ok(())
}

/// Until every packet of a whole pass is answered: in the first pass flows come into being.
fn converse(objects: &mut Objects, gateway: &mut Gateway, range: Range<u32>) -> Result<()> {
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

/// Sends the whole list once, a handful at a time; the number of answers.
fn pass(objects: &Objects, packets: usize) -> Result<usize> {
    let before = objects.count(Counter::Answered)?;
    let mut left = u32::try_from(packets)?;
    let mut expected = before;
    while left > 0 {
        let chunk = left.min(CHUNK);
        objects.generate(SMALL, chunk)?;
        left -= chunk;
        expected += u64::from(chunk);
        let deadline = Instant::now() + Duration::from_millis(20);
        while objects.count(Counter::Answered)? < expected && Instant::now() < deadline {
            std::thread::yield_now();
        }
        // The lost ones do not come any more: the next chunk is not to wait for them.
        expected = objects.count(Counter::Answered)?.min(expected);
    }
    Ok(usize::try_from(objects.count(Counter::Answered)? - before)?)
}
