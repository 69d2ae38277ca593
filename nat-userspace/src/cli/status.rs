//! `natgw status`: is there a gateway, what does it carry, and what is wrong with it.

use std::fmt::Write as _;
use std::io::Write;
use std::net::Ipv4Addr;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Duration;

use nat_common::HopStamp;
use nat_common::stats::Stats;
use serde::Serialize;

use super::args::{Instance, Output};
use super::faults::{Seen, faults};
use super::table::{Paint, bits_per_second, float, percent};
use crate::datapath::Error as DatapathError;
use crate::datapath::attach;
use crate::datapath::inspect::Inspect;
use crate::export::stats::{FlowCounts, StatsView};
use crate::net::state::{Interface, InterfaceSide, RunState, StateDir};

/// Between the two samples that rates are computed from.
pub(super) const SAMPLE: Duration = Duration::from_millis(500);

/// Flows looked at for unresolved hops: enough to notice, few enough to be quick.
const HOPS_LOOKED_AT: u64 = 10_000;

/// What `natgw status --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StatusView {
    /// Packets are being translated.
    pub up: bool,
    /// The daemon's process, `None` when it is not running.
    pub pid: Option<u32>,
    /// When it started, in seconds since the epoch.
    pub started: Option<u64>,
    /// Version that runs.
    pub version: Option<String>,
    /// The data plane stays when the daemon stops.
    pub persist: bool,
    /// Whether it is in the network namespace of this process.
    pub in_this_namespace: bool,
    /// Managed interfaces.
    pub interfaces: Vec<InterfaceView>,
    /// Elastic IPs.
    pub eips: Vec<Ipv4Addr>,
    /// Flows now, and room for them.
    pub flows: FlowCounts,
    /// Traffic now.
    pub rates: Rates,
    /// What is wrong, one sentence each; empty when all is well.
    pub faults: Vec<String>,
}

/// A managed interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct InterfaceView {
    /// What the daemon recorded.
    #[serde(flatten)]
    pub recorded: Interface,
    /// Whether it is there.
    pub present: bool,
    /// Whether XDP is attached to it.
    pub attached: bool,
}

impl InterfaceView {
    /// `attached`: the interfaces that have XDP; `exists` tells whether one is there.
    fn new(mut recorded: Interface, attached: &[String], exists: impl Fn(&Interface) -> bool) -> Self {
        let attached = attached.contains(&recorded.name);
        let present = attached || exists(&recorded);
        // The record may be that of a daemon that is dead, and was not told.
        recorded.missing = !present;
        Self { recorded, present, attached }
    }
}

/// Per second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Rates {
    /// Packets from inside to outside.
    pub packets_out: f64,
    /// Packets from outside to inside.
    pub packets_in: f64,
    /// Bytes from inside to outside.
    pub bytes_out: f64,
    /// Bytes from outside to inside.
    pub bytes_in: f64,
    /// Flows born.
    pub new_flows: f64,
    /// Packets dropped.
    pub drops: f64,
}

/// Prints the status; fails when there is no gateway.
pub async fn run(instance: &Instance, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    let inspect = match super::open(instance) {
        Ok(inspect) => inspect,
        Err(e) => {
            let absent = matches!(e.downcast_ref(), Some(DatapathError::NotUp { .. }));
            if output.json && absent {
                writeln!(out, "{}", serde_json::json!({ "up": false }))?;
            }
            return Err(e);
        }
    };
    let first = inspect.stats()?;
    tokio::time::sleep(SAMPLE).await;
    let status = look(instance, &inspect, &first)?;
    if output.json {
        serde_json::to_writer(&mut *out, &status)?;
        writeln!(out)?;
    } else {
        out.write_all(render(&status, Paint::stdout()).as_bytes())?;
    }
    Ok(())
}

fn look(instance: &Instance, inspect: &Inspect, first: &Stats) -> anyhow::Result<StatusView> {
    let stats = inspect.stats()?;
    let pins = super::pins(instance)?;
    let attached = attach::attached(&pins)?;
    let state = recorded(&instance.state_dir)?;
    let pid = state.as_ref().map(|s| s.pid).filter(|pid| is_natgw(*pid));
    let recorded = state.as_ref().map(|s| s.interfaces.clone()).unwrap_or_default();
    let here = state.as_ref().is_none_or(|s| s.is_of_this_namespace().unwrap_or(true));
    // In another namespace than its own, the gateway's record is all that there is to know of an interface.
    let exists = |i: &Interface| {
        if here { nix::net::if_::if_nametoindex(i.name.as_str()).is_ok() } else { !i.missing }
    };
    let interfaces = recorded.into_iter().map(|r| InterfaceView::new(r, &attached, exists)).collect();
    let flows = StatsView::new(&stats, inspect.capacity()).flows;
    let mut status = StatusView {
        up: !attached.is_empty(),
        pid,
        started: state.as_ref().map(|s| s.started),
        version: state.as_ref().map(|s| s.version.clone()),
        persist: state.as_ref().is_some_and(|s| s.persist),
        in_this_namespace: here,
        interfaces,
        eips: inspect.eips()?.iter().map(|(addr, _)| Ipv4Addr::from(*addr)).collect(),
        flows,
        rates: rates(first, &stats),
        faults: Vec::new(),
    };
    let is_outside = |name: &str| {
        status.interfaces.iter().any(|i| i.recorded.name == name && i.recorded.side != InterfaceSide::Inside)
    };
    let unguarded = attach::unguarded(&pins, is_outside)?;
    let seen = Seen { first, last: &stats, unresolved: unresolved(inspect)?, unguarded: &unguarded };
    status.faults = faults(&status, &seen);
    Ok(status)
}

/// The daemon's record, when there is one. Looking does not create the directory.
pub fn recorded(dir: &Path) -> anyhow::Result<Option<RunState>> {
    if !dir.is_dir() {
        return Ok(None);
    }
    Ok(StateDir::open(dir)?.read()?)
}

/// The daemon of a state directory, when it runs. A state that cannot be read names none.
pub fn daemon(state_dir: &Path) -> Option<u32> {
    recorded(state_dir).ok().flatten().map(|s| s.pid).filter(|pid| is_natgw(*pid))
}

/// Whether a process of natgw has this id. An id may have been given to another program by now.
pub fn is_natgw(pid: u32) -> bool {
    // "pid (comm) state ...": a zombie has ended, and waits for its parent to take note.
    std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .is_ok_and(|stat| stat.split_once(" (natgw) ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X'])))
}

fn rates(first: &Stats, second: &Stats) -> Rates {
    let seconds = SAMPLE.as_secs_f64();
    let delta = |now: u64, then: u64| float(now.saturating_sub(then)) / seconds;
    let sum = |values: &[u64]| values.iter().sum::<u64>();
    Rates {
        packets_out: delta(second.packets[1], first.packets[1]),
        packets_in: delta(second.packets[3], first.packets[3]),
        bytes_out: delta(second.bytes[1], first.bytes[1]),
        bytes_in: delta(second.bytes[3], first.bytes[3]),
        new_flows: delta(sum(&second.births), sum(&first.births)),
        drops: delta(sum(&second.drops), sum(&first.drops)),
    }
}

/// How many of the first flows wait for a next hop, and how many were looked at.
fn unresolved(inspect: &Inspect) -> anyhow::Result<(u64, u64)> {
    let (mut waiting, mut seen) = (0, 0);
    inspect.flows(&mut |flow, _| {
        seen += 1;
        waiting += u64::from(flow.out.hop == HopStamp::UNRESOLVED);
        if seen < HOPS_LOOKED_AT { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok((waiting, seen))
}

fn render(status: &StatusView, paint: Paint) -> String {
    let mut text = String::new();
    let head = if status.up { paint.green("up") } else { paint.red("down") };
    let daemon = match (status.pid, status.started) {
        (Some(pid), Some(started)) => {
            let now = std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_secs());
            let since = super::table::seconds(float(now.saturating_sub(started)));
            format!("daemon pid {pid}, since {since}")
        }
        _ => "no daemon".to_owned(),
    };
    let r = &status.rates;
    // Writing to a String cannot fail.
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{} {value}", paint.bold(&format!("{label:<11}")));
    };
    line("gateway", format!("{head}, {daemon}"));
    match status.pid {
        _ if status.in_this_namespace => {}
        Some(pid) => line("namespace", format!("another one: `nsenter --target {pid} --net` enters it")),
        None => line("namespace", "another one".to_owned()),
    }
    for InterfaceView { recorded, present, attached } in &status.interfaces {
        let side = format!("{:?}", recorded.side).to_lowercase();
        let state = match (present, attached) {
            (false, _) => paint.red("missing"),
            (true, false) => paint.red("no XDP"),
            (true, true) => format!("{:?}", recorded.xdp_mode).to_lowercase() + " XDP",
        };
        line("interface", format!("{} ({side}, {state})", recorded.name));
    }
    let eips: Vec<String> = status.eips.iter().map(ToString::to_string).collect();
    line("eips", eips.join(" "));
    let (flows, room) = (status.flows.total(), status.flows.capacity);
    line("flows", format!("{flows} of {room} ({})", percent(flows, room)));
    line("out", format!("{:.0} packets/s, {}", r.packets_out, bits_per_second(r.bytes_out)));
    line("in", format!("{:.0} packets/s, {}", r.packets_in, bits_per_second(r.bytes_in)));
    line("new flows", format!("{:.0}/s", r.new_flows));
    line("drops", format!("{:.0}/s", r.drops));
    for fault in &status.faults {
        let _ = writeln!(text, "{} {fault}", paint.red("fault      "));
    }
    text
}

#[cfg(test)]
pub(super) mod tests {
    use bytemuck::Zeroable as _;

    use super::*;
    use crate::net::state::XdpMode;

    pub(in crate::cli) fn healthy() -> StatusView {
        let recorded = Interface {
            name: "eth0".to_owned(),
            ifindex: 2,
            side: InterfaceSide::Outside,
            xdp_mode: XdpMode::Native,
            missing: false,
        };
        StatusView {
            up: true,
            pid: Some(7),
            started: Some(0),
            version: Some("0.1.0".to_owned()),
            persist: false,
            in_this_namespace: true,
            interfaces: vec![InterfaceView { recorded, present: true, attached: true }],
            eips: vec![Ipv4Addr::new(203, 0, 113, 10)],
            flows: FlowCounts { tcp: 1, udp: 2, icmp: 0, capacity: 1000 },
            rates: Rates::default(),
            faults: Vec::new(),
        }
    }

    #[test]
    fn rates_are_per_second() {
        let (first, mut second) = (Stats::zeroed(), Stats::zeroed());
        (second.packets[1], second.bytes[3], second.births[0]) = (50, 500, 5);
        let rates = rates(&first, &second);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(
            near(rates.packets_out, 100.0) && near(rates.bytes_in, 1000.0) && near(rates.new_flows, 10.0)
        );
    }

    #[test]
    fn a_gateway_in_another_namespace_says_so() {
        assert!(!render(&healthy(), Paint::Plain).contains("namespace"));
        let away = StatusView { in_this_namespace: false, ..healthy() };
        assert!(render(&away, Paint::Plain).contains("`nsenter --target 7 --net`"));
    }

    #[test]
    fn an_interface_that_is_lost_is_shown_as_missing() {
        let mut status = healthy();
        let recorded = status.interfaces.remove(0).recorded;
        for (attached, exists, state) in [
            (&["eth0".to_owned()][..], true, "eth0 (outside, native XDP)"),
            (&[], true, "eth0 (outside, no XDP)"),
            (&[], false, "eth0 (outside, missing)"),
        ] {
            status.interfaces = vec![InterfaceView::new(recorded.clone(), attached, |_| exists)];
            let page = render(&status, Paint::Plain);
            assert!(page.contains(state), "{page}");
            let json = serde_json::to_value(&status).expect("serializes");
            assert_eq!(json["interfaces"][0]["missing"], !exists);
            assert_eq!(json["interfaces"][0]["present"], exists);
        }
    }

    #[test]
    fn a_page_and_a_document() {
        let page = render(&healthy(), Paint::Plain);
        assert!(page.contains("up, daemon pid 7") && page.contains("eth0 (outside, native XDP)"), "{page}");
        let json = serde_json::to_value(healthy()).expect("serializes");
        assert_eq!(json["interfaces"][0]["name"], "eth0");
        assert_eq!(json["interfaces"][0]["xdp_mode"], "native");
        assert_eq!(json["flows"]["capacity"], 1000);
    }
}
