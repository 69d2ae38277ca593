//! The counters as people and programs see them. The fields and their names are the JSON interface.

use nat_common::lost::Lost;
use nat_common::stats::{Meter, Stats};
use nat_common::{Answer, PassReason, Proto, Reason};
use serde::ser::{Serialize, Serializer};

use crate::datapath::inspect::alive;
use crate::model::status::FlowCounts;

/// What `natgw stats --json` prints.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct StatsView {
    /// Packets by side and direction.
    pub packets: Meters,
    /// Bytes of IPv4 by side and direction.
    pub bytes: Meters,
    /// Packets dropped, by reason.
    pub drops: Drops,
    /// Frames left to the kernel as they came, by reason.
    pub passes: Passes,
    /// Flows asked for, answered, and ended in silence.
    pub connections: Connections,
    /// Flows for which no port was found.
    pub port_allocation_errors: u64,
    /// Flows now, and room for them.
    pub flows: FlowCounts,
    /// What natgw told senders of packets that it dropped.
    pub answers: Answers,
    /// How the packet path worked.
    pub internals: Internals,
    /// Packets lost after they were sent, by the interface; those of them that lost any. They count as dropped
    /// (`redirect_error`), and not as sent.
    pub lost: Losses,
}

/// By interface: what was lost on its way out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(pub Vec<(String, Lost)>);

impl Losses {
    /// Names of the kinds, and their counts.
    pub const fn named(lost: &Lost) -> [(&'static str, u64); 3] {
        [("refused", lost.refused), ("dropped", lost.dropped), ("back", lost.back)]
    }
}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Kinds<'a>(&'a Lost);
        impl Serialize for Kinds<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(Losses::named(self.0))
            }
        }
        serializer.collect_map(self.0.iter().map(|(interface, lost)| (interface, Kinds(lost))))
    }
}

/// By [`Meter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Meters {
    /// Received from inside hosts.
    pub source_in: u64,
    /// Sent to destinations.
    pub destination_out: u64,
    /// Received from destinations.
    pub destination_in: u64,
    /// Sent to inside hosts.
    pub source_out: u64,
}

impl Meters {
    fn new(values: &[u64; 4]) -> Self {
        let of = |meter: Meter| values[meter as usize];
        Self {
            source_in: of(Meter::SourceIn),
            destination_out: of(Meter::DestinationOut),
            destination_in: of(Meter::DestinationIn),
            source_out: of(Meter::SourceOut),
        }
    }

    /// With names, in the order of the fields.
    pub const fn named(&self) -> [(&'static str, u64); 4] {
        [
            (Meter::SourceIn.name(), self.source_in),
            (Meter::DestinationOut.name(), self.destination_out),
            (Meter::DestinationIn.name(), self.destination_in),
            (Meter::SourceOut.name(), self.source_out),
        ]
    }
}

/// By [`Reason`], every reason, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drops(pub Vec<(Reason, u64)>);

impl Serialize for Drops {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(reason, n)| (reason.name(), n)))
    }
}

/// By [`PassReason`], every reason, in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passes(pub Vec<(PassReason, u64)>);

impl Serialize for Passes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(reason, n)| (reason.name(), n)))
    }
}

/// By [`Answer`], every kind, in the order of their numbers; and what the limit held back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answers {
    /// Sent.
    pub sent: Vec<(Answer, u64)>,
    /// Not sent: more than `answers_per_second`.
    pub limited: u64,
}

impl Answers {
    fn new(stats: &Stats) -> Self {
        Self {
            sent: Answer::ALL.map(|a| (a, stats.answers[a as usize])).to_vec(),
            limited: stats.answers_limited,
        }
    }

    /// With names; `limited` comes last.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.sent.iter().map(|(answer, n)| (answer.name(), *n)).chain([(LIMITED, self.limited)])
    }
}

/// Name of what the limit held back, beside those of [`Answer`].
pub const LIMITED: &str = "limited";

impl Serialize for Answers {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.named())
    }
}

/// All protocols together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Connections {
    /// New flows asked for.
    pub attempts: u64,
    /// Handshakes completed, flows answered.
    pub established: u64,
    /// Flows that ended idle rather than closed.
    pub idle_timeouts: u64,
}

macro_rules! internals {
    ($stats:ident: $($(#[$doc:meta])* $field:ident = $value:expr, $metric:literal, $help:literal;)+) => {
        /// What the packet path did beside translating and dropping.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
        pub struct Internals {$(
            $(#[$doc])*
            pub $field: u64,
        )+}

        impl Internals {
            /// From the counters.
            pub fn new($stats: &Stats) -> Self {
                Self { $($field: $value),+ }
            }

            /// Name, help and value of each one's metric.
            pub const fn metrics(&self) -> [(&'static str, &'static str, u64); [$($metric),+].len()] {
                [$(($metric, $help, self.$field)),+]
            }
        }
    };
}

// The only list of these counters: `stats --json`, and the metrics without labels, come from it.
internals! { stats:
    /// Packets left to the host, untranslated.
    passed = stats.passed(), "natgw_passed_packets", "Packets left to the host, untranslated";
    /// Packets translated and left to the kernel to forward.
    handovers = stats.handovers, "natgw_handover_packets", "Packets translated and left to the kernel to forward";
    /// Flows taken back after their deadline by a packet that may start one.
    revivals = stats.revivals, "natgw_flow_revivals", "Flows taken back after their deadline by a new start";
    /// Flows given up while being made because another CPU was first.
    lost_races = stats.lost_races, "natgw_flow_lost_races", "Flows given up at birth because another CPU was first";
    /// Ports looked at while claiming one.
    probes = stats.probes, "natgw_port_probes", "Ports looked at while claiming one for a flow";
    /// Next hops resolved.
    hops_resolved = stats.hops_resolved, "natgw_hops_resolved", "Next hops that flows looked up in the kernel's tables";
    /// Packets dropped, and flows ended, because their EIP does not belong to the link that they would leave by.
    wrong_link = stats.wrong_link, "natgw_wrong_link_packets", "Packets dropped because their EIP does not belong to the link of their route";
}

impl StatsView {
    /// The view of `stats` of a table with room for `capacity` flows.
    pub fn new(stats: &Stats, capacity: u32) -> Self {
        Self {
            packets: Meters::new(&stats.packets),
            bytes: Meters::new(&stats.bytes),
            drops: Drops(Reason::ALL.map(|r| (r, stats.drops[r as usize])).to_vec()),
            passes: Passes(PassReason::ALL.map(|r| (r, stats.passes[r as usize])).to_vec()),
            connections: Connections {
                attempts: stats.attempts.iter().sum(),
                established: stats.established.iter().sum(),
                idle_timeouts: stats.idle_timeouts.iter().sum(),
            },
            port_allocation_errors: stats.port_allocation_errors,
            flows: FlowCounts {
                tcp: alive(stats, Proto::Tcp),
                udp: alive(stats, Proto::Udp),
                icmp: alive(stats, Proto::Icmp),
                capacity: u64::from(capacity),
            },
            answers: Answers::new(stats),
            internals: Internals::new(stats),
            lost: Losses::default(),
        }
    }

    /// With what interfaces lost.
    #[must_use]
    pub fn with_losses(self, lost: Losses) -> Self {
        Self { lost, ..self }
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable as _;

    use super::*;

    #[test]
    fn json_is_what_the_interface_says() {
        let mut stats = Stats::zeroed();
        stats.packets = [1, 2, 3, 4];
        stats.bytes = [10, 20, 30, 40];
        stats.drops[Reason::UnsolicitedInbound as usize] = 7;
        stats.drops[Reason::Vlan as usize] = 8;
        stats.drops[Reason::SourceRoute as usize] = 9;
        (stats.attempts, stats.established, stats.idle_timeouts) = ([5, 6, 7], [1, 2, 3], [1, 1, 1]);
        (stats.births, stats.deaths) = ([9, 5, 1], [4, 5, 2]);
        stats.port_allocation_errors = 11;
        stats.answers[..5].copy_from_slice(&[21, 22, 23, 24, 25]);
        stats.answers_limited = 26;
        (stats.handovers, stats.revivals) = (13, 14);
        stats.passes[PassReason::ToHost as usize] = 4;
        stats.passes[PassReason::HostProtocol as usize] = 8;
        (stats.lost_races, stats.probes, stats.hops_resolved, stats.wrong_link) = (15, 16, 17, 21);
        let lost = Lost { refused: 18, dropped: 19, back: 20 };
        let view = StatsView::new(&stats, 1000).with_losses(Losses(vec![("eth0".to_owned(), lost)]));
        let json = serde_json::to_string(&view).expect("serializes");
        assert_eq!(
            json,
            concat!(
                r#"{"packets":{"source_in":1,"destination_out":2,"destination_in":3,"source_out":4},"#,
                r#""bytes":{"source_in":10,"destination_out":20,"destination_in":30,"source_out":40},"#,
                r#""drops":{"unsolicited_inbound":7,"port_exhausted":0,"table_full":0,"unsupported_proto":0,"#,
                r#""bad_header":0,"bad_checksum":0,"fragment":0,"no_flow":0,"ttl":0,"mtu":0,"redirect_error":0,"#,
                r#""no_route":0,"policy":0,"quota":0,"spoofed_source":0,"expired":0,"guard":0,"vlan":8,"group_mac":0,"#,
                r#""transit":0,"contended":0,"source_route":9},"#,
                r#""passes":{"to_host":4,"not_ipv4":0,"other_vlan":0,"other_station":0,"group":0,"dhcp":0,"exempt":0,"#,
                r#""inside":0,"host_address":0,"host_socket":0,"host_fragment":0,"host_error":0,"host_echo":0,"host_protocol":8,"host_nat":0},"#,
                r#""connections":{"attempts":18,"established":6,"idle_timeouts":3},"port_allocation_errors":11,"#,
                r#""flows":{"tcp":5,"udp":0,"icmp":0,"capacity":1000},"#,
                r#""answers":{"time_exceeded":21,"too_big":22,"reset":23,"prohibited":24,"unreachable":25,"limited":26},"#,
                r#""internals":{"passed":12,"handovers":13,"revivals":14,"lost_races":15,"probes":16,"hops_resolved":17,"wrong_link":21},"#,
                r#""lost":{"eth0":{"refused":18,"dropped":19,"back":20}}}"#
            )
        );
    }
}
