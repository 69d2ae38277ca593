//! `natgw eip list`: the Elastic IPs, and how full they are.

use std::io::Write;
use std::net::Ipv4Addr;

use nat_common::stats::EipStats;
use nat_common::{Addr, Eip, EipState, Proto};
use serde::Serialize;

use super::args::{EipVerb, Output};
use super::instance::Instance;
use super::table::{Align, Paint, table};
use crate::model::filter::Filter;
use crate::observe::matches::for_each_match;
use crate::observe::number::percent;
use crate::observe::ports::PortUsage;
use crate::observe::uplinks;

/// An EIP as people and programs see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EipView {
    /// The address.
    pub eip: Ipv4Addr,
    /// `active` takes new flows; `draining` keeps those it has.
    pub state: &'static str,
    /// Also the host's own address.
    pub shared: bool,
    /// Pool number, in the order of the configuration.
    pub pool: u32,
    /// The outside interface that it belongs to, by which alone it leaves; `None`: by any.
    pub outside: Option<String>,
    /// Ports that flows may take.
    pub ports: u32,
    /// Distinct ports that have a flow.
    pub ports_in_use: PerProto,
    /// Flows. A port serves many, to different destinations.
    pub flows: PerProto,
    /// Flows for which there was no port.
    pub port_allocation_errors: PerProto,
    /// The interface whose address it is, when that is what is configured.
    pub interface: Option<String>,
}

/// A number for each protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PerProto {
    /// TCP.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
    /// ICMP queries.
    pub icmp: u64,
}

impl PerProto {
    /// From an array by [`Proto::index`].
    pub const fn new(values: [u64; 3]) -> Self {
        let [tcp, udp, icmp] = values;
        Self { tcp, udp, icmp }
    }
}

impl EipView {
    /// From the EIP's map entry and counters, and the flows that were counted.
    pub fn new(
        addr: Addr,
        entry: &Eip,
        stats: &EipStats,
        usage: &PortUsage,
        outside: Option<String>,
    ) -> Self {
        let eip = Ipv4Addr::from(addr);
        let draining = entry.state == EipState::Draining as u8;
        Self {
            eip,
            state: if draining { "draining" } else { "active" },
            shared: entry.shared != 0,
            pool: entry.pool,
            outside,
            ports: entry.ports.count,
            ports_in_use: PerProto::new(usage.ports(eip)),
            flows: PerProto::new(usage.flows(eip)),
            port_allocation_errors: PerProto::new(stats.port_allocation_errors),
            interface: None,
        }
    }
}

/// Lists.
pub fn run(instance: &Instance, verb: &EipVerb, out: &mut dyn Write) -> anyhow::Result<()> {
    let EipVerb::List(Output { json }) = verb;
    let inspect = instance.open()?;
    let mut usage = PortUsage::default();
    for_each_match(&inspect, &Filter::default(), &mut |flow, _| {
        usage.add(flow.out.new_src.into(), flow.proto, flow.out.new_sport.host());
        Ok(())
    })?;
    let recorded = instance.recorded()?;
    let (followed, interfaces) = recorded.map(|s| (s.followed, s.interfaces)).unwrap_or_default();
    let of = |view: &EipView| followed.iter().find(|f| f.addr == Some(view.eip)).map(|f| f.interface.clone());
    let eips: Vec<EipView> = inspect
        .eip_stats()?
        .iter()
        .map(|(addr, eip, stats)| {
            let view = EipView::new(*addr, eip, stats, &usage, uplinks::name(eip, &interfaces));
            EipView { interface: of(&view), ..view }
        })
        .collect();
    if *json {
        serde_json::to_writer(&mut *out, &serde_json::json!({ "eips": eips }))?;
        writeln!(out)?;
    } else {
        out.write_all(render(&eips, Paint::stdout()).as_bytes())?;
    }
    Ok(())
}

fn render(eips: &[EipView], paint: Paint) -> String {
    let columns: [(&str, Align); 8] = [
        ("EIP", Align::Left),
        ("STATE", Align::Left),
        ("OUTSIDE", Align::Left),
        ("PORTS", Align::Right),
        ("IN USE TCP", Align::Right),
        ("IN USE UDP", Align::Right),
        ("FLOWS TCP/UDP/ICMP", Align::Right),
        ("ERRORS", Align::Right),
    ];
    let rows: Vec<Vec<String>> = eips
        .iter()
        .map(|e| {
            let share = |n: u64| format!("{n} ({})", percent(n, u64::from(e.ports)));
            let errors = e.port_allocation_errors;
            vec![
                e.eip.to_string(),
                match (&e.interface, e.shared) {
                    (Some(name), _) => format!("{}, of {name}", e.state),
                    (None, true) => format!("{}, shared", e.state),
                    (None, false) => e.state.to_owned(),
                },
                e.outside.clone().unwrap_or_else(|| "any".to_owned()),
                e.ports.to_string(),
                share(e.ports_in_use.tcp),
                share(e.ports_in_use.udp),
                format!("{}/{}/{}", e.flows.tcp, e.flows.udp, e.flows.icmp),
                (errors.tcp + errors.udp + errors.icmp).to_string(),
            ]
        })
        .collect();
    table(&columns, &rows, paint)
}

/// The arrays that become [`PerProto`] have its order.
const _: () = assert!(Proto::Tcp.index() == 0 && Proto::Udp.index() == 1 && Proto::Icmp.index() == 2);

#[cfg(test)]
mod tests {
    use nat_common::ports::PortSet;

    use super::*;

    #[test]
    fn json_is_stable() {
        let ports = PortSet::new(1024, 65_535, Some((32_768, 60_999))).expect("not empty");
        let entry = Eip { ports, shared: 1, ..Eip::default() };
        let stats = EipStats { port_allocation_errors: [1, 2, 3], births: [0; 3] };
        let mut usage = PortUsage::default();
        usage.add(Ipv4Addr::new(203, 0, 113, 10), Proto::Tcp, 5000);
        let view = EipView::new(
            Addr::from_octets([203, 0, 113, 10]),
            &entry,
            &stats,
            &usage,
            Some("eth1".to_owned()),
        );
        assert_eq!(
            serde_json::to_string(&view).expect("serializes"),
            concat!(
                r#"{"eip":"203.0.113.10","state":"active","shared":true,"pool":0,"outside":"eth1","ports":36280,"#,
                r#""ports_in_use":{"tcp":1,"udp":0,"icmp":0},"flows":{"tcp":1,"udp":0,"icmp":0},"#,
                r#""port_allocation_errors":{"tcp":1,"udp":2,"icmp":3},"interface":null}"#
            )
        );
        assert!(render(&[view], Paint::Plain).contains("active, shared"));
    }
}
