//! What is wrong with the traffic itself: packets that are lost, answers that do not come.

use nat_common::Reason;
use nat_common::stats::Stats;

use super::seen::{FlowsSeen, Seen};
use crate::model::fault::{Code, Fault};
use crate::model::status::Status;

/// Flows without an answer that are more than a client who asks hosts that are not there.
const UNANSWERED: u64 = 3;

/// First packets that look as if their checksum was left to an offload. One in 65,536 does so by chance.
const PARTIAL: u64 = 2;

pub(super) fn faults(status: &Status, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
    let sample = seen.sample.as_secs_f64();
    let grown = |counter: fn(&Stats) -> u64| counter(seen.last).saturating_sub(counter(seen.first));
    let lost = grown(|s| s.drops[Reason::RedirectError as usize]);
    if lost > 0 {
        let names: Vec<&str> = seen.losses.0.iter().map(|(name, _)| name.as_str()).collect();
        let at =
            if names.is_empty() { String::new() } else { format!(" (losses so far: {})", names.join(", ")) };
        faults.push(Fault::new(
            Code::RedirectsFailing,
            format!("{lost} packets were lost on their way out in the last {sample} s{at}"),
            "the device they go to takes no redirected frames: set xdp = \"auto\"; see `natgw stats` and `ip -s link`",
        ));
    }
    let astray = grown(|s| s.wrong_link);
    if astray > 0 {
        faults.push(Fault::new(
            Code::EipWrongLink,
            format!(
                "{astray} packets of the last {sample} s would leave by a link that their EIP does not belong to, and were dropped"
            ),
            "add an EIP of that link to the pool, or route by the EIP (`ip rule add from EIP lookup TABLE`)",
        ));
    }
    if !seen.counts_losses && status.up {
        faults.push(Fault::new(
            Code::LossesUncounted,
            "packets that are lost after a redirect are counted as sent: this kernel does not tell of them",
            "compare with `ip -s link`; a kernel with BTF (CONFIG_DEBUG_INFO_BTF) tells",
        ));
    }
    let FlowsSeen { asking, answered, .. } = seen.flows;
    if asking >= UNANSWERED && answered == 0 && status.rates.packets_in == 0.0 {
        faults.push(Fault::new(
            Code::NoAnswers,
            format!("none of the {asking} flows of the last seconds has had an answer"),
            "does the upstream route the EIPs to this host? `tcpdump -ni OUTSIDE` shows what leaves by a router's end",
        ));
    }
    if grown(|s| s.partial_checksums) >= PARTIAL {
        faults.push(Fault::new(
            Code::OffloadTrap,
            "clients on this host leave checksums to an offload that XDP does not run",
            "set xdp = \"auto\" for tc, or `ethtool -K PEER tx off` at the client's end of the link",
        ));
    }
    let guarded = grown(|s| s.drops[Reason::Guard as usize]);
    if guarded > 0 {
        faults.push(Fault::new(
            Code::GuardDrops,
            format!("the guards stopped {guarded} packets in the last {sample} s that the packet path had let through"),
            "somebody else's routing or NAT sends them there, or XDP is gone; see \"The guards\" in docs/packet-flow.md",
        ));
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;
    use nat_common::lost::Lost;

    use super::super::tests::{said, seen};
    use super::*;
    use crate::observe::stats::Losses;

    #[test]
    fn a_way_by_another_links_wire_is_told() {
        let (first, mut last) = (Stats::zeroed(), Stats::zeroed());
        last.wrong_link = 3;
        let text = said(&Status::healthy(), &seen(&first, &last));
        assert!(text.contains("3 packets") && text.contains("ip rule add from EIP"), "{text}");
    }

    #[test]
    fn what_is_lost_is_told_while_it_is_lost() {
        let (first, mut last) = (Stats::zeroed(), Stats::zeroed());
        last.drops[Reason::RedirectError as usize] = 7;
        let losses = Losses(vec![("veth1".to_owned(), Lost { refused: 7, ..Lost::default() })]);
        let text = said(&Status::healthy(), &Seen { losses: &losses, ..seen(&first, &last) });
        assert!(text.contains("7 packets were lost") && text.contains("veth1"), "{text}");
        assert_eq!(said(&Status::healthy(), &Seen { losses: &losses, ..seen(&last, &last) }), "");
        let text = said(&Status::healthy(), &Seen { counts_losses: false, ..seen(&first, &first) });
        assert!(text.contains("counted as sent"), "{text}");
    }

    #[test]
    fn silence_after_many_questions_is_told() {
        let stats = Stats::zeroed();
        let at = |asking, answered| {
            let flows = FlowsSeen { looked_at: 10, asking, answered, ..FlowsSeen::default() };
            said(&Status::healthy(), &Seen { flows, ..seen(&stats, &stats) })
        };
        assert!(at(3, 0).contains("none of the 3 flows"));
        assert_eq!((at(2, 0), at(100, 1)), (String::new(), String::new()));
    }

    #[test]
    fn an_offload_trap_and_guard_drops_are_told() {
        let (first, mut last) = (Stats::zeroed(), Stats::zeroed());
        last.partial_checksums = 1;
        assert_eq!(said(&Status::healthy(), &seen(&first, &last)), "", "one in 65,536 is chance");
        (last.partial_checksums, last.drops[Reason::Guard as usize]) = (2, 3);
        let text = said(&Status::healthy(), &seen(&first, &last));
        assert!(text.contains("ethtool -K PEER tx off") && text.contains("stopped 3 packets"), "{text}");
    }
}
