//! Establishes flows: a packet out and an answer back, for every flow, through the gateway itself.

use std::ops::Range;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::gateways::{EIP, Gateway, Kind};
use super::objects::{Counter, Objects, Program};
use super::traffic::{self, Size};
use super::nft;

/// Frames under way at once: less than a veth's ring holds.
const CHUNK: u32 = 128;

/// Makes the flows of a range known to a gateway that keeps flows.
pub fn establish(objects: &mut Objects, gateway: &mut Gateway, range: Range<u32>) -> Result<()> {
    match gateway.kind {
        Kind::Lookup => objects.fill_table(range, EIP.parse::<std::net::Ipv4Addr>()?.into()),
        kind if kind.is_nat() => {
            converse(objects, gateway, range.clone()).with_context(|| format!("flows of {}", kind.id()))?;
            let known = match &gateway.natgw {
                Some(natgw) => natgw.flows(&gateway.ns)?,
                None => nft::connections(&gateway.ns)?,
            };
            ensure!(known == u64::from(range.end), "{} has {known} flows of {}", kind.id(), range.end);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Twice: the first time flows come into being, the second time every single packet must be answered.
fn converse(objects: &mut Objects, gateway: &mut Gateway, range: Range<u32>) -> Result<()> {
    objects.set_course(&traffic::visits_of(range.clone()))?;
    objects.replace(&mut gateway.far, Program::Answer)?;
    objects.aim(gateway.target())?;
    let mut answered = 0;
    for _ in 0..4 {
        answered = pass(objects, range.len())?;
        if answered == range.len() {
            break;
        }
    }
    ensure!(answered == range.len(), "{} of {} packets were answered", answered, range.len());
    objects.replace(&mut gateway.far, Program::Receive)
}

/// Sends the whole list once, a handful at a time; the number of answers.
fn pass(objects: &Objects, packets: usize) -> Result<usize> {
    let before = objects.count(Counter::Answered)?.packets;
    let mut left = u32::try_from(packets)?;
    let mut expected = before;
    while left > 0 {
        let chunk = left.min(CHUNK);
        objects.generate(Size::Fixed(64), chunk)?;
        left -= chunk;
        expected += u64::from(chunk);
        let deadline = Instant::now() + Duration::from_millis(20);
        while objects.count(Counter::Answered)?.packets < expected && Instant::now() < deadline {
            std::thread::yield_now();
        }
        // Lost ones do not come any more: the next chunk is not to wait for them.
        expected = objects.count(Counter::Answered)?.packets.min(expected);
    }
    Ok(usize::try_from(objects.count(Counter::Answered)?.packets - before)?)
}
