//! What is wrong with a gateway at this moment, one sentence each, with what to do.

use nat_common::Reason;
use nat_common::stats::Stats;

use super::status::{SAMPLE, StatusView};
use super::table::{float, percent};

/// From this share of the table on, it is about to refuse flows.
const NEARLY_FULL: f64 = 0.95;

/// What the maps showed. Counters only grow, for as long as the maps exist: a fault is what grows now.
pub(super) struct Seen<'a> {
    /// Counters at the start of the sample.
    pub(super) first: &'a Stats,
    /// Counters at its end.
    pub(super) last: &'a Stats,
    /// Flows without a resolved next hop, and how many were looked at.
    pub(super) unresolved: (u64, u64),
    /// Interfaces that have lost a guard.
    pub(super) unguarded: &'a [String],
}

/// Every fault, the gravest first.
pub(super) fn faults(status: &StatusView, seen: &Seen<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    if !status.up {
        faults.push("the data plane is attached to no interface; start `natgw run`".to_owned());
    }
    if status.pid.is_none() {
        faults.push(
            "the daemon is not running: flows go on, but none is collected and neighbours are not watched; start \
             `natgw run` to take over"
                .to_owned(),
        );
    }
    for interface in &status.interfaces {
        let name = &interface.recorded.name;
        if !interface.present {
            faults.push(format!(
                "interface {name} is missing: nothing passes there; natgw attaches to it once it is back (`ip link`)"
            ));
        } else if !interface.attached {
            faults.push(format!("interface {name} has no XDP program; see the daemon's log"));
        }
        if interface.present && seen.unguarded.contains(name) {
            faults.push(format!(
                "interface {name} has lost a guard: without XDP, inside addresses could leave there; a running daemon \
                 puts it back in seconds, else restart natgw"
            ));
        }
    }
    let (waiting, looked_at) = seen.unresolved;
    if waiting > 0 {
        faults.push(format!(
            "{waiting} of {looked_at} flows have no resolved next hop; see `ip neigh` and `ip route`"
        ));
    }
    shortages(status, seen, &mut faults);
    faults
}

fn shortages(status: &StatusView, seen: &Seen<'_>, faults: &mut Vec<String>) {
    let sample = SAMPLE.as_secs_f64();
    let grown = |counter: fn(&Stats) -> u64| counter(seen.last).saturating_sub(counter(seen.first));
    let refused = grown(|s| s.port_allocation_errors);
    if refused > 0 {
        faults.push(format!(
            "{refused} flows found no free port in the last {sample} s; add an EIP to the pool"
        ));
    }
    let dropped = grown(|s| s.drops[Reason::TableFull as usize]);
    let (flows, room) = (status.flows.total(), status.flows.capacity);
    if dropped > 0 {
        faults.push(format!(
            "{dropped} packets dropped in the last {sample} s because the flow table was full; raise max_flows"
        ));
    } else if room > 0 && float(flows) >= NEARLY_FULL * float(room) {
        let share = percent(flows, room);
        faults.push(format!(
            "the flow table is {share} full, and a full one refuses new flows; raise max_flows"
        ));
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;
    use crate::cli::status::tests::healthy;
    use crate::export::stats::FlowCounts;

    #[test]
    fn every_fault_says_what_to_do() {
        let status = healthy();
        let first = Stats::zeroed();
        let mut last = first;
        let healthy = Seen { first: &first, last: &last, unresolved: (0, 10), unguarded: &[] };
        assert!(faults(&status, &healthy).is_empty());
        last.port_allocation_errors = 3;
        last.drops[Reason::TableFull as usize] = 4;
        let mut bad = StatusView { up: false, pid: None, ..status };
        bad.interfaces[0].present = false;
        let seen = Seen { first: &first, last: &last, unresolved: (5, 10), unguarded: &[] };
        let faults = faults(&bad, &seen).join("\n");
        for part in
            ["natgw run", "not running", "eth0 is missing", "5 of 10", "add an EIP", "raise max_flows"]
        {
            assert!(faults.contains(part), "{faults}");
        }
    }

    #[test]
    fn a_lost_guard_is_a_fault() {
        let stats = Stats::zeroed();
        let lost = ["eth0".to_owned()];
        let seen = Seen { first: &stats, last: &stats, unresolved: (0, 0), unguarded: &lost };
        assert!(faults(&healthy(), &seen).join("\n").contains("eth0 has lost a guard"));
    }

    #[test]
    fn a_shortage_that_is_over_is_no_fault() {
        let mut stats = Stats::zeroed();
        stats.port_allocation_errors = 3;
        stats.drops[Reason::TableFull as usize] = 4;
        let seen = Seen { first: &stats, last: &stats, unresolved: (0, 10), unguarded: &[] };
        assert_eq!(faults(&healthy(), &seen), Vec::<String>::new());
    }

    #[test]
    fn a_table_is_nearly_full_from_95_per_cent_on() {
        let stats = Stats::zeroed();
        let seen = Seen { first: &stats, last: &stats, unresolved: (0, 0), unguarded: &[] };
        let at = |tcp| {
            let flows = FlowCounts { tcp, udp: 0, icmp: 0, capacity: 1000 };
            faults(&StatusView { flows, ..healthy() }, &seen).join("\n")
        };
        assert_eq!(at(949), "");
        assert!(at(950).contains("95.0 % full") && at(950).contains("max_flows"), "{}", at(950));
        let none = FlowCounts { tcp: 0, udp: 0, icmp: 0, capacity: 0 };
        assert!(faults(&StatusView { flows: none, ..healthy() }, &seen).is_empty());
    }
}
