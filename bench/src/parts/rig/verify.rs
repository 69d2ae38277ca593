//! Before a gateway is measured: does it do its job? Whole frames, seen by a packet socket at either end.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Tap;
use nat_tests::lab::tap::Direction;
use nat_tests::packet::Parsed;

use super::addresses::{CLIENT, CLIENT_MAC, EIP, INSIDE_MAC, OUTSIDE, ROUTER_MAC};
use super::gateways::{Ends, Gateway, Kind};
use super::objects::{Objects, Program};
use super::plan::Series;
use super::traffic::Sent;

/// Packets that are looked at: the first of the list.
pub const SAMPLE: usize = 48;

/// Sends the first packets of the list, and looks at what arrives at the far end; for a gateway that translates, also
/// at what comes back to the client.
pub fn verify(
    objects: &mut Objects,
    ends: &Ends,
    gateway: &mut Gateway<'_>,
    series: Series,
    sent: &[Sent],
) -> Result<()> {
    if gateway.kind == Kind::Ceiling {
        return Ok(());
    }
    let fault = || format!("`{}` does not do its job ({series}): not measured", gateway.kind.id());
    objects.replace(&mut gateway.far, Program::Look)?;
    let tap = Tap::start(&ends.far, &gateway.far_device())?;
    let arrived = shot(objects, gateway.target(), series, &tap)?;
    check_outbound(gateway.kind, sent, &arrived).with_context(fault)?;
    if gateway.kind.is_nat() {
        objects.replace(&mut gateway.far, Program::Answer)?;
        objects.replace(&mut gateway.near, Program::Look)?;
        let tap = Tap::start(&ends.near, &gateway.near_device())?;
        let arrived = shot(objects, gateway.target(), series, &tap)?;
        check_answers(sent, &arrived).with_context(fault)?;
        objects.replace(&mut gateway.near, Program::ReceiveAnswer)?;
    }
    objects.replace(&mut gateway.far, Program::Receive)
}

/// Length in bytes and content of a frame.
type Seen = (usize, Parsed);

fn shot(objects: &mut Objects, target: u32, series: Series, tap: &Tap) -> Result<Vec<Seen>> {
    objects.aim(target, 0)?;
    objects.generate(series.size, u32::try_from(SAMPLE)?)?;
    let seen = || -> Vec<Seen> {
        let frames = tap.frames();
        let received = frames.iter().filter(|f| f.direction == Direction::Received);
        received.filter_map(|f| Some((f.bytes.len(), f.parsed()?))).collect()
    };
    let deadline = Instant::now() + Duration::from_secs(1);
    while seen().len() < SAMPLE && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(seen())
}

fn check_outbound(kind: Kind, sent: &[Sent], arrived: &[Seen]) -> Result<()> {
    ensure!(
        arrived.len() == sent.len(),
        "{} of {} packets arrived at the far end",
        arrived.len(),
        sent.len()
    );
    let source: Ipv4Addr = match kind {
        Kind::Natgw => EIP.parse()?,
        Kind::Nft => OUTSIDE.parse()?,
        _ => CLIENT,
    };
    let (ttl, dmac) = if kind.is_router() { (63, ROUTER_MAC) } else { (64, INSIDE_MAC) };
    let mut mappings = BTreeSet::new();
    for ((length, packet), sent) in arrived.iter().zip(sent) {
        let fault = |what: &str| format!("{what}: {packet}, {length} bytes to {:02x?}", packet.dmac);
        check_common(*length, packet, sent, ttl, dmac)?;
        ensure!(packet.src == source, fault("source address"));
        ensure!(packet.dst == Ipv4Addr::from(sent.tuple.dst), fault("destination address"));
        ensure!(packet.dport == sent.tuple.dport.host(), fault("destination port"));
        ensure!(kind.is_nat() || packet.sport == sent.tuple.sport.host(), fault("source port"));
        mappings.insert((sent.tuple.sport.host(), packet.sport, packet.dst));
    }
    let flows: BTreeSet<_> =
        sent.iter().map(|s| (s.tuple.sport.host(), Ipv4Addr::from(s.tuple.dst))).collect();
    ensure!(mappings.len() == flows.len(), "{} flows left by {} mappings", flows.len(), mappings.len());
    Ok(())
}

fn check_answers(sent: &[Sent], arrived: &[Seen]) -> Result<()> {
    ensure!(arrived.len() == sent.len(), "{} of {} answers arrived at the client", arrived.len(), sent.len());
    for ((length, packet), sent) in arrived.iter().zip(sent) {
        let fault = |what: &str| format!("{what} of an answer: {packet}, {length} bytes");
        // Out through the gateway and back through it.
        check_common(*length, packet, sent, 62, CLIENT_MAC)?;
        ensure!(
            packet.source() == std::net::SocketAddrV4::new(sent.tuple.dst.into(), sent.tuple.dport.host()),
            fault("source")
        );
        ensure!(
            packet.destination() == std::net::SocketAddrV4::new(CLIENT, sent.tuple.sport.host()),
            fault("destination")
        );
    }
    Ok(())
}

fn check_common(length: usize, packet: &Parsed, sent: &Sent, ttl: u8, dmac: [u8; 6]) -> Result<()> {
    let fault = |what: &str| format!("{what}: {packet}, {length} bytes to {:02x?}", packet.dmac);
    ensure!(packet.checksums_ok() && packet.l4_checksum != Some(0), fault("checksums"));
    ensure!(packet.ttl == ttl, fault("TTL"));
    ensure!(packet.dmac == dmac, fault("Ethernet address"));
    ensure!(length == usize::from(sent.frame), fault("length"));
    ensure!(packet.payload.iter().all(|b| *b == 0), fault("payload"));
    Ok(())
}
