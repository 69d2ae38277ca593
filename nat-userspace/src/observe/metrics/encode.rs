//! The metrics of one scrape, in Prometheus text. Names are the interface; counters get their `_total` from
//! the encoder.

use std::fmt::Error;
use std::net::{Ipv4Addr, SocketAddrV4};

use nat_common::stats::{Meter, Stats};
use nat_common::{Answer, Proto, Reason};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeGaugeValue, MetricEncoder};
use prometheus_client::metrics::MetricType;

use super::peak::Rate;
use crate::datapath::inspect::alive;
use crate::model::fault::{Code, Fault, Severity};
use crate::observe::stats::{Internals, LIMITED};

/// What the maps say at scrape time, and what the collector found on its last pass.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// Counters of all CPUs.
    pub stats: Stats,
    /// Flows that the table holds.
    pub capacity: u32,
    /// Every EIP.
    pub eips: Vec<EipSnapshot>,
    /// The destinations that use the largest share of an EIP's ports, largest first.
    pub destinations: Vec<DestinationUsage>,
    /// What the daemon keeps of the host.
    pub host: HostCounts,
    /// What is wrong.
    pub faults: Vec<Fault>,
}

impl Snapshot {
    /// Whether packets get through, as far as is known.
    pub fn is_up(&self) -> bool {
        self.faults.iter().all(|f| f.severity < Severity::Critical)
    }
}

/// How the daemon follows the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCounts {
    /// Neighbours that are kept resolved.
    pub kept: u64,
    /// Neighbours in use that are not, because there are too many.
    pub refused: u64,
    /// How often the kernel reported more changes than could be taken in.
    pub overruns: u64,
}

/// One EIP. Arrays are by [`Proto::index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EipSnapshot {
    /// The address.
    pub addr: Ipv4Addr,
    /// Ports that flows may take: those of its pool, less what is reserved and what a shared EIP leaves to the host.
    pub ports: [u32; 3],
    /// Distinct ports that have a flow.
    pub in_use: [u64; 3],
    /// Flows for which there was no port.
    pub errors: [u64; 3],
}

/// How much of an EIP's ports flows to one destination use.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DestinationUsage {
    /// The EIP.
    pub eip: Ipv4Addr,
    /// Protocol.
    pub proto: Proto,
    /// Remote address and port.
    pub remote: SocketAddrV4,
    /// From 0 to 1.
    pub ratio: f64,
}

/// A scrape: `None` when the data plane could not be read.
#[derive(Debug)]
pub(super) struct Scrape {
    pub(super) snapshot: Option<Snapshot>,
    pub(super) peak: Rate,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut out = Out { encoder: &mut encoder };
        let up = u32::from(self.snapshot.as_ref().is_some_and(Snapshot::is_up));
        out.gauge("natgw_up", "1 while packets are being translated", |g| g.value(&[], up))?;
        out.info("natgw_build", "Version of natgw", &[("version", env!("CARGO_PKG_VERSION"))])?;
        let Some(snapshot) = &self.snapshot else { return Ok(()) };
        faults(&mut out, &snapshot.faults)?;
        traffic(&mut out, &snapshot.stats, self.peak)?;
        connections(&mut out, &snapshot.stats)?;
        internals(&mut out, &snapshot.stats)?;
        host(&mut out, snapshot.host)?;
        table(&mut out, snapshot)?;
        eips(&mut out, snapshot)
    }
}

fn faults(out: &mut Out<'_, '_>, found: &[Fault]) -> Result<(), Error> {
    out.gauge("natgw_fault", "1 while this is wrong; every fault that there may be has a series", |g| {
        Code::ALL.iter().try_for_each(|code| {
            let is_wrong = u32::from(found.iter().any(|f| f.code == *code));
            g.value(&[("code", code.name()), ("severity", code.severity().name())], is_wrong)
        })
    })
}

fn traffic(out: &mut Out<'_, '_>, stats: &Stats, peak: Rate) -> Result<(), Error> {
    let meters = [
        (Meter::SourceIn, [("side", "source"), ("dir", "in")]),
        (Meter::SourceOut, [("side", "source"), ("dir", "out")]),
        (Meter::DestinationIn, [("side", "destination"), ("dir", "in")]),
        (Meter::DestinationOut, [("side", "destination"), ("dir", "out")]),
    ];
    for (name, help, values) in [
        ("natgw_bytes", "Bytes of IPv4, from (in) and to (out) sources and destinations", &stats.bytes),
        ("natgw_packets", "Packets, from (in) and to (out) sources and destinations", &stats.packets),
    ] {
        out.counter(name, help, |c| {
            meters.iter().try_for_each(|(meter, labels)| c.value(labels, values[*meter as usize]))
        })?;
    }
    out.counter("natgw_packets_dropped", "Packets dropped, by reason", |c| {
        Reason::ALL.iter().try_for_each(|r| c.value(&[("reason", r.name())], stats.drops[*r as usize]))
    })?;
    let help = "Packets that could not be sent, or were lost on their way out; they count as dropped too";
    out.counter("natgw_redirect_errors", help, |c| {
        c.value(&[], stats.drops[Reason::RedirectError as usize])
    })?;
    let help = "ICMP errors and RSTs that natgw sent, by kind; limited: what answers_per_second held back";
    out.counter("natgw_answers", help, |c| {
        Answer::ALL.iter().try_for_each(|a| c.value(&[("kind", a.name())], stats.answers[*a as usize]))?;
        c.value(&[("kind", LIMITED)], stats.answers_limited)
    })?;
    out.gauge("natgw_peak_bytes_per_second", "Highest 10 s average of bytes in the last minute", |g| {
        g.value(&[], peak.bytes)
    })?;
    out.gauge("natgw_peak_packets_per_second", "Highest 10 s average of packets in the last minute", |g| {
        g.value(&[], peak.packets)
    })
}

fn connections(out: &mut Out<'_, '_>, stats: &Stats) -> Result<(), Error> {
    for (name, help, values) in [
        ("natgw_connection_attempts", "New flows that inside hosts asked for", &stats.attempts),
        (
            "natgw_connections_established",
            "TCP handshakes completed, other flows answered",
            &stats.established,
        ),
        ("natgw_idle_timeouts", "Flows that ended in silence rather than closed", &stats.idle_timeouts),
    ] {
        out.counter(name, help, |c| {
            Proto::ALL.iter().try_for_each(|p| c.value(&[("proto", p.name())], values[p.index()]))
        })?;
    }
    out.gauge("natgw_active_connections", "Flows in the table", |g| {
        Proto::ALL.iter().try_for_each(|p| g.value(&[("proto", p.name())], alive(stats, *p)))
    })
}

fn internals(out: &mut Out<'_, '_>, stats: &Stats) -> Result<(), Error> {
    for (name, help, value) in Internals::new(stats).metrics() {
        out.counter(name, help, |c| c.value(&[], value))?;
    }
    Ok(())
}

fn host(out: &mut Out<'_, '_>, host: HostCounts) -> Result<(), Error> {
    out.gauge("natgw_neighbours_kept", "Neighbours that natgw keeps resolved", |g| g.value(&[], host.kept))?;
    out.gauge(
        "natgw_neighbours_refused",
        "Neighbours in use that natgw does not keep resolved, because there are too many",
        |g| g.value(&[], host.refused),
    )?;
    let help = "Times that the kernel reported more changes than natgw could take in, and all was read again";
    out.counter("natgw_netlink_overruns", help, |c| c.value(&[], host.overruns))
}

fn table(out: &mut Out<'_, '_>, snapshot: &Snapshot) -> Result<(), Error> {
    let flows: u64 = Proto::ALL.iter().map(|p| alive(&snapshot.stats, *p)).sum();
    out.gauge("natgw_flow_table_entries", "Entries in the flow table, two a flow", |g| {
        g.value(&[], 2 * flows)
    })?;
    out.gauge(
        "natgw_flow_table_capacity",
        "Entries that the flow table can hold, two a flow: twice max_flows",
        |g| g.value(&[], 2 * u64::from(snapshot.capacity)),
    )
}

/// Labels, an EIP, and a protocol's index.
type Each<'a> = &'a mut dyn FnMut(&[(&str, &str)], &EipSnapshot, usize) -> Result<(), Error>;

fn eips(out: &mut Out<'_, '_>, snapshot: &Snapshot) -> Result<(), Error> {
    let per_eip = |f: Each<'_>| {
        for eip in &snapshot.eips {
            let addr = eip.addr.to_string();
            for proto in Proto::ALL {
                f(&[("eip", &addr), ("proto", proto.name())], eip, proto.index())?;
            }
        }
        Ok(())
    };
    // No total beside the series: whoever sums them up would count everything twice.
    let help = "Flows for which no port was free, by the EIP of the client";
    out.counter("natgw_port_allocation_errors", help, |c| {
        per_eip(&mut |labels, eip, proto| c.value(labels, eip.errors[proto]))
    })?;
    out.gauge(
        "natgw_ports_in_use",
        "Ports of the EIP that have a flow, as of the collector's last pass (up to 20 s ago)",
        |g| per_eip(&mut |labels, eip, proto| g.value(labels, eip.in_use[proto])),
    )?;
    out.gauge("natgw_ports_capacity", "Ports of the EIP that flows may take", |g| {
        per_eip(&mut |labels, eip, proto| g.value(labels, eip.ports[proto]))
    })?;
    let help = "Share of an EIP's ports that flows to one destination use, largest first";
    out.gauge("natgw_destination_port_usage_ratio", help, |g| {
        snapshot.destinations.iter().try_for_each(|d| {
            let (eip, destination) = (d.eip.to_string(), d.remote.to_string());
            let labels =
                [("eip", eip.as_str()), ("proto", d.proto.name()), ("destination", destination.as_str())];
            g.value(&labels, d.ratio)
        })
    })
}

/// Writes metric families, labels and all.
struct Out<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
}

struct Counter<'a>(MetricEncoder<'a>);
struct Gauge<'a>(MetricEncoder<'a>);

impl Out<'_, '_> {
    fn counter(
        &mut self,
        name: &str,
        help: &str,
        values: impl FnOnce(&mut Counter<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        values(&mut Counter(self.encoder.encode_descriptor(name, help, None, MetricType::Counter)?))
    }

    fn gauge(
        &mut self,
        name: &str,
        help: &str,
        values: impl FnOnce(&mut Gauge<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        values(&mut Gauge(self.encoder.encode_descriptor(name, help, None, MetricType::Gauge)?))
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> Result<(), Error> {
        self.encoder.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }
}

impl Counter<'_> {
    fn value(&mut self, labels: &[(&str, &str)], value: u64) -> Result<(), Error> {
        if labels.is_empty() {
            return self.0.encode_counter::<[(&str, &str); 0], _, u64>(&value, None);
        }
        self.0.encode_family(&labels)?.encode_counter::<[(&str, &str); 0], _, u64>(&value, None)
    }
}

impl Gauge<'_> {
    fn value(&mut self, labels: &[(&str, &str)], value: impl EncodeGaugeValue) -> Result<(), Error> {
        if labels.is_empty() {
            return self.0.encode_gauge(&value);
        }
        self.0.encode_family(&labels)?.encode_gauge(&value)
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;

    use super::super::peak::Peak;
    use super::*;

    #[test]
    fn answers_are_told_by_kind_and_what_was_held_back_is_one() {
        let mut stats = Stats::zeroed();
        stats.answers[..5].copy_from_slice(&[1, 2, 3, 4, 5]);
        stats.answers_limited = 6;
        let snapshot = Snapshot {
            stats,
            capacity: 1000,
            eips: vec![],
            destinations: vec![],
            host: HostCounts::default(),
            faults: vec![],
        };
        let mut registry = Registry::default();
        registry
            .register_collector(Box::new(Scrape { snapshot: Some(snapshot), peak: Peak::default().rate() }));
        let mut body = String::new();
        text::encode(&mut body, &registry).unwrap();
        for (n, kind) in
            (1..).zip(["time_exceeded", "too_big", "reset", "prohibited", "unreachable", "limited"])
        {
            assert!(body.contains(&format!("\nnatgw_answers_total{{kind=\"{kind}\"}} {n}\n")), "{body}");
        }
        assert!(body.contains("# HELP natgw_answers ICMP errors and RSTs that natgw sent"), "{body}");
    }
}
