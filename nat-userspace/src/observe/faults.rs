//! What is wrong with a gateway at this moment.

use nat_common::Reason;
use nat_common::stats::Stats;

use super::eips;
use super::number::{float, percent};
use crate::host::state::ContestedSysctl;
use crate::model::fault::{Code, Fault};
use crate::model::status::Status;

mod host;
mod seen;
mod traffic;

pub use seen::FlowsSeen;
pub(super) use seen::Seen;

/// From this share of the table on, it is about to refuse flows.
const NEARLY_FULL: f64 = 0.95;

/// Every fault, the gravest first.
pub(super) fn faults(status: &Status, seen: &Seen<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !status.up {
        let text = "the data plane is attached to no interface";
        faults.push(Fault::new(Code::DataPlaneDown, text, "start `natgw run`"));
    }
    if status.up && status.eips.is_empty() {
        let text = "there is no EIP: nothing is translated";
        faults.push(Fault::new(
            Code::NoEip,
            text,
            "see why the interface that is to have one has no address (`ip addr`)",
        ));
    }
    if status.pid.is_none() {
        faults.push(Fault::new(
            Code::DaemonDown,
            "the daemon is not running: flows go on, but none is collected and neighbours are not watched",
            "start `natgw run` to take over",
        ));
    }
    interfaces(status, seen, &mut faults);
    faults.extend(eips::missing_fault(seen.missing_eips));
    faults.extend(seen.contested.iter().map(contested));
    host::faults(status, seen, &mut faults);
    traffic::faults(status, seen, &mut faults);
    let FlowsSeen { looked_at, unresolved: waiting, .. } = seen.flows;
    if waiting > 0 {
        faults.push(Fault::new(
            Code::HopsUnresolved,
            format!("{waiting} of {looked_at} flows have no resolved next hop"),
            "see `ip neigh` and `ip route`",
        ));
    }
    shortages(status, seen, &mut faults);
    // Stable: within a severity they stay in the order above.
    faults.sort_by_key(|f| std::cmp::Reverse(f.severity));
    faults
}

fn interfaces(status: &Status, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
    for interface in &status.interfaces {
        let name = &interface.recorded.name;
        if !interface.present {
            faults.push(Fault::new(
                Code::InterfaceMissing,
                format!("interface {name} is missing: nothing passes there"),
                "natgw attaches to it once it is back (`ip link`)",
            ));
        } else if !interface.attached {
            let text = format!("interface {name} does not run the packet path: natgw's program is not on it");
            faults.push(Fault::new(Code::XdpMissing, text, "see the daemon's log"));
        }
        if interface.present && seen.unguarded.contains(name) {
            faults.push(Fault::new(
                Code::GuardMissing,
                format!("interface {name} has lost a guard: without the packet path, inside addresses could leave there"),
                "a running daemon puts it back in seconds, else restart natgw",
            ));
        }
    }
}

fn contested(sysctl: &ContestedSysctl) -> Fault {
    let ContestedSysctl { interface, key, wanted, found } = sysctl;
    let name = format!("net.ipv4.conf.{interface}.{key}");
    Fault::new(
        Code::SysctlReset,
        format!("{name} is set to {found} again and again, and natgw needs {wanted}"),
        "find what sets it (sysctl.d, NetworkManager, another firewall), and have it leave this interface alone",
    )
}

fn shortages(status: &Status, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
    let sample = seen.sample.as_secs_f64();
    let grown = |counter: fn(&Stats) -> u64| counter(seen.last).saturating_sub(counter(seen.first));
    let refused = grown(|s| s.port_allocation_errors);
    if refused > 0 {
        let text = format!("{refused} flows found no free port in the last {sample} s");
        faults.push(Fault::new(Code::PortsExhausted, text, "add an EIP to the pool"));
    }
    let dropped = grown(|s| s.drops[Reason::TableFull as usize]);
    let (flows, room) = (status.flows.total(), status.flows.capacity);
    if dropped > 0 {
        let text =
            format!("{dropped} packets dropped in the last {sample} s because the flow table was full");
        faults.push(Fault::new(Code::TableFull, text, "raise max_flows"));
    } else if room > 0 && float(flows) >= NEARLY_FULL * float(room) {
        let share = percent(flows, room);
        let text = format!("the flow table is {share} full, and a full one refuses new flows");
        faults.push(Fault::new(Code::TableNearlyFull, text, "raise max_flows"));
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use bytemuck::Zeroable as _;

    use super::*;
    use crate::model::status::FlowCounts;
    use crate::observe::stats::Losses;

    static NO_LOSSES: Losses = Losses(Vec::new());

    pub(super) fn seen<'a>(first: &'a Stats, last: &'a Stats) -> Seen<'a> {
        Seen {
            sample: Duration::from_millis(500),
            first,
            last,
            missing_eips: &[],
            contested: &[],
            flows: FlowsSeen { looked_at: 10, ..FlowsSeen::default() },
            unguarded: &[],
            damage: None,
            counts_losses: true,
            losses: &NO_LOSSES,
            host: None,
        }
    }

    /// As people read them.
    pub(super) fn said(status: &Status, seen: &Seen<'_>) -> String {
        faults(status, seen).iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let status = Status::healthy();
        let first = Stats::zeroed();
        let mut last = first;
        assert!(faults(&status, &seen(&first, &last)).is_empty());
        last.port_allocation_errors = 3;
        last.drops[Reason::TableFull as usize] = 4;
        let mut bad = Status { up: false, pid: None, ..status };
        bad.interfaces[0].present = false;
        let flows = FlowsSeen { looked_at: 10, unresolved: 5, ..FlowsSeen::default() };
        let seen = Seen { flows, ..seen(&first, &last) };
        let text = said(&bad, &seen);
        for part in
            ["natgw run", "not running", "eth0 is missing", "5 of 10", "add an EIP", "raise max_flows"]
        {
            assert!(text.contains(part), "{text}");
        }
        let codes: Vec<_> = faults(&bad, &seen).iter().map(|f| f.code.name()).collect();
        assert_eq!(
            codes,
            [
                "data_plane_down",
                "interface_missing",
                "ports_exhausted",
                "table_full",
                "daemon_down",
                "hops_unresolved"
            ]
        );
    }

    #[test]
    fn a_lost_guard_is_a_fault() {
        let stats = Stats::zeroed();
        let lost = ["eth0".to_owned()];
        let seen = Seen { unguarded: &lost, ..seen(&stats, &stats) };
        assert!(said(&Status::healthy(), &seen).contains("eth0 has lost a guard"));
    }

    #[test]
    fn a_sysctl_that_is_fought_over_is_a_fault_and_says_which() {
        let stats = Stats::zeroed();
        let contested = [ContestedSysctl {
            interface: "eth0".into(),
            key: "forwarding".into(),
            wanted: "1".into(),
            found: "0".into(),
        }];
        let seen = Seen { contested: &contested, ..seen(&stats, &stats) };
        let text = said(&Status::healthy(), &seen);
        assert!(text.contains("net.ipv4.conf.eth0.forwarding is set to 0 again and again"), "{text}");
    }

    #[test]
    fn a_shortage_that_is_over_is_no_fault() {
        let mut stats = Stats::zeroed();
        stats.port_allocation_errors = 3;
        stats.drops[Reason::TableFull as usize] = 4;
        assert_eq!(faults(&Status::healthy(), &seen(&stats, &stats)), []);
    }

    #[test]
    fn a_table_is_nearly_full_from_95_per_cent_on() {
        let stats = Stats::zeroed();
        let at = |tcp| {
            let flows = FlowCounts { tcp, udp: 0, icmp: 0, capacity: 1000 };
            said(&Status { flows, ..Status::healthy() }, &seen(&stats, &stats))
        };
        assert_eq!(at(949), "");
        assert!(at(950).contains("95.0 % full") && at(950).contains("max_flows"), "{}", at(950));
        let none = FlowCounts { tcp: 0, udp: 0, icmp: 0, capacity: 0 };
        assert_eq!(said(&Status { flows: none, ..Status::healthy() }, &seen(&stats, &stats)), "");
    }
}
