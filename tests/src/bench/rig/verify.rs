//! Before a gateway is measured: does it do its job?

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::gateways::{EIP, Ends, Gateway, INSIDE_MAC, Kind, OUTSIDE, ROUTER_MAC};
use super::objects::{Objects, Program};
use super::plan::Series;
use super::traffic::{self, CLIENT};
use crate::lab::Tap;
use crate::packet::Parsed;

const SAMPLE: u32 = 48;

/// Sends the first packets of the list and looks at what arrives at the far end.
pub fn verify(objects: &mut Objects, ends: &Ends, gateway: &mut Gateway, series: Series) -> Result<()> {
    if gateway.kind == Kind::Ceiling {
        return Ok(());
    }
    objects.replace(&mut gateway.far, Program::Look)?;
    let tap = Tap::start(&ends.far, &gateway.far_device())?;
    objects.aim(gateway.target())?;
    objects.generate(series.size, SAMPLE)?;
    let deadline = Instant::now() + Duration::from_secs(1);
    while tap.frames().len() < SAMPLE as usize && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
    }
    let arrived: Vec<(usize, Parsed)> =
        tap.frames().iter().filter_map(|f| Some((f.bytes.len(), f.parsed()?))).collect();
    drop(tap);
    objects.replace(&mut gateway.far, Program::Receive)?;
    check(gateway.kind, series, &arrived)
        .with_context(|| format!("`{}` does not do its job ({series}): not measured", gateway.kind.id()))
}

fn check(kind: Kind, series: Series, arrived: &[(usize, Parsed)]) -> Result<()> {
    ensure!(arrived.len() == SAMPLE as usize, "{} of {SAMPLE} packets arrived", arrived.len());
    let source: Ipv4Addr = match kind {
        Kind::Natgw => EIP.parse()?,
        Kind::Nft => OUTSIDE.parse()?,
        _ => CLIENT,
    };
    let (ttl, dmac) = if kind.is_router() { (63, ROUTER_MAC) } else { (64, INSIDE_MAC) };
    let expected = traffic::expected(series.flows, series.size, series.order, SAMPLE as usize);
    let mut mappings = BTreeSet::new();
    for ((length, packet), (tuple, wanted)) in arrived.iter().zip(&expected) {
        let what = || format!("{packet}, {length} bytes to {:02x?}", packet.dmac);
        ensure!(packet.checksums_ok() && packet.l4_checksum != Some(0), "checksums: {}", what());
        ensure!(packet.ttl == ttl, "TTL is not {ttl}: {}", what());
        ensure!(packet.dmac == dmac, "not addressed to {dmac:02x?}: {}", what());
        ensure!(packet.src == source, "does not come from {source}: {}", what());
        ensure!(packet.dst == Ipv4Addr::from(tuple.dst) && packet.dport == tuple.dport.host(), "not its destination: {}", what());
        ensure!(kind.is_nat() || packet.sport == tuple.sport.host(), "not its source port: {}", what());
        ensure!(*length == usize::from(*wanted), "not {wanted} bytes: {}", what());
        ensure!(packet.payload.iter().all(|b| *b == 0), "not its payload: {}", what());
        mappings.insert((tuple.sport.host(), packet.sport, packet.dst));
    }
    let flows: BTreeSet<_> = expected.iter().map(|(t, _)| (t.sport.host(), Ipv4Addr::from(t.dst))).collect();
    ensure!(mappings.len() == flows.len(), "{} flows left by {} mappings", flows.len(), mappings.len());
    Ok(())
}
