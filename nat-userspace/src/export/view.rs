//! A flow as people and programs see it. The fields and their names are the JSON interface.

use std::net::{Ipv4Addr, SocketAddrV4};

use nat_common::tcp::State;
use nat_common::timeouts::Timeouts;
use nat_common::{FlowEntry, HopStamp, Proto, Stamp, Tuple};
use serde::{Serialize, Serializer};

use crate::cli::args::{FlowFilter, SortBy};

/// One conversation, both directions. Ports are ICMP identifiers for ICMP.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowView {
    /// Protocol.
    #[serde(serialize_with = "proto_name")]
    pub proto: Proto,
    /// State.
    #[serde(serialize_with = "state_name")]
    pub state: State,
    /// The inside host's end.
    pub inside: SocketAddrV4,
    /// What the remote host sees instead.
    pub eip: SocketAddrV4,
    /// The remote host's end. ICMP: the identifier that it sees.
    pub remote: SocketAddrV4,
    /// Who spoke first.
    pub direction: Direction,
    /// Packets from inside.
    pub packets_out: u64,
    /// Packets from the remote host.
    pub packets_in: u64,
    /// Bytes from inside, IPv4 headers included.
    pub bytes_out: u64,
    /// Bytes from the remote host, IPv4 headers included.
    pub bytes_in: u64,
    /// Seconds since the flow began. Wraps after 24 days.
    pub age_s: f64,
    /// Seconds since the last packet of either direction.
    pub idle_s: f64,
    /// Seconds until it is forgotten if it stays idle.
    pub expires_in_s: f64,
    /// Where packets from inside go next; `None` before that is known, and when the kernel forwards them.
    pub hop_out: Option<HopView>,
    /// Where packets from the remote host go next.
    pub hop_in: Option<HopView>,
}

/// Who spoke first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// An inside host.
    Out,
}

/// A resolved next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HopView {
    /// Egress interface.
    pub dev: String,
    /// Its Ethernet address there.
    pub mac: String,
}

/// What `natgw flows --json` prints.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowList {
    /// The flows that were asked for, at most `--limit`.
    pub flows: Vec<FlowView>,
    /// How many match, printed or not.
    pub total: u64,
}

/// The two entries of a flow.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    /// Key of the outbound entry.
    pub key: &'a Tuple,
    /// The outbound entry.
    pub out: &'a FlowEntry,
    /// The inbound entry, missing while the flow is being born.
    pub back: Option<&'a FlowEntry>,
}

impl Pair<'_> {
    /// The state, from the flags that both directions have shown.
    pub fn state(&self) -> State {
        State::of(self.key.proto, self.out.seen, self.back.map_or(0, |b| b.seen))
    }

    /// Milliseconds since the last packet of either direction.
    fn idle_ms(&self, now: Stamp) -> u32 {
        let back = self.back.map_or(self.out.last, |b| b.last);
        self.out.last.later(back, now).age_ms(now)
    }

    /// Condemned by the reaper, or past its deadline, which to the packet path is the same.
    pub fn is_dead(&self, timeouts: &Timeouts, now: Stamp) -> bool {
        let condemned = self.out.last.is_dead() || self.back.is_some_and(|b| b.last.is_dead());
        condemned || self.idle_ms(now) >= timeouts.of(self.key.proto, self.state())
    }
}

impl FlowView {
    /// The view of `pair` at `now`. `None` when its protocol is none of natgw's.
    ///
    /// `hop` tells where flows with a stamp go.
    pub fn new(
        pair: Pair<'_>,
        timeouts: &Timeouts,
        now: Stamp,
        hop: &dyn Fn(HopStamp) -> Option<HopView>,
    ) -> Option<Self> {
        let Pair { key, out, back } = pair;
        let proto = Proto::from_number(key.proto)?;
        let state = pair.state();
        let idle = pair.idle_ms(now);
        let mine = out.new_sport.host();
        let remote_port = if proto == Proto::Icmp { mine } else { out.new_dport.host() };
        Some(Self {
            proto,
            state,
            inside: SocketAddrV4::new(Ipv4Addr::from(key.src), key.sport.host()),
            eip: SocketAddrV4::new(Ipv4Addr::from(out.new_src), mine),
            remote: SocketAddrV4::new(Ipv4Addr::from(out.new_dst), remote_port),
            direction: Direction::Out,
            packets_out: out.packets,
            packets_in: back.map_or(0, |b| b.packets),
            bytes_out: out.bytes,
            bytes_in: back.map_or(0, |b| b.bytes),
            age_s: seconds(out.created.age_ms(now)),
            idle_s: seconds(idle),
            expires_in_s: seconds(timeouts.of(key.proto, state).saturating_sub(idle)),
            hop_out: hop(out.hop),
            hop_in: back.and_then(|b| hop(b.hop)),
        })
    }

    /// Whether everything that `filter` asks for holds.
    pub fn matches(&self, filter: &FlowFilter) -> bool {
        let FlowFilter { src, dst, proto, eip, sport, dport, state } = filter;
        src.is_none_or(|net| net.contains(self.inside.ip()))
            && dst.is_none_or(|net| net.contains(self.remote.ip()))
            && proto.is_none_or(|p| p == self.proto)
            && eip.is_none_or(|a| a == *self.eip.ip())
            && sport.is_none_or(|p| p == self.inside.port())
            && dport.is_none_or(|p| p == self.remote.port())
            && state.is_none_or(|s| s == self.state)
    }
}

/// Sorts, largest first.
pub fn sort(flows: &mut [FlowView], by: SortBy) {
    flows.sort_by(|a, b| match by {
        SortBy::Age => b.age_s.total_cmp(&a.age_s),
        SortBy::Idle => b.idle_s.total_cmp(&a.idle_s),
        SortBy::Packets => (b.packets_out + b.packets_in).cmp(&(a.packets_out + a.packets_in)),
        SortBy::Bytes => (b.bytes_out + b.bytes_in).cmp(&(a.bytes_out + a.bytes_in)),
    });
}

fn seconds(ms: u32) -> f64 {
    f64::from(ms) / 1000.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn proto_name<S: Serializer>(proto: &Proto, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(proto.name())
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn state_name<S: Serializer>(state: &State, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.name())
}

#[cfg(test)]
mod tests {
    use nat_common::tcp::{ACK, ANY, SYN};
    use nat_common::{Addr, Port, Side};

    use super::*;

    const T0: Stamp = Stamp { ms: 1_000_000 };

    fn at(ms: u32) -> Stamp {
        Stamp { ms: T0.ms + ms }
    }

    fn tuple(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16, proto: Proto, side: u8) -> Tuple {
        Tuple {
            src: Addr::from_octets(src),
            dst: Addr::from_octets(dst),
            sport: Port::new(sport),
            dport: Port::new(dport),
            proto: proto as u8,
            side,
            place: 0,
        }
    }

    /// An answered flow, born at T0, last heard from inside after 3.9 s and from outside after 3.7 s.
    fn pair(proto: Proto, dport: u16) -> (Tuple, FlowEntry, FlowEntry) {
        let key = tuple([10, 0, 0, 2], 41234, [198, 51, 100, 7], dport, proto, Side::INSIDE);
        let wire = tuple([203, 0, 113, 10], 51002, [198, 51, 100, 7], dport, proto, Side::INSIDE);
        let seen = if proto == Proto::Tcp { SYN | ACK } else { ANY };
        let mut out = FlowEntry::new(&key, &wire, seen | FlowEntry::OUTBOUND, T0);
        let back_key = out.pair_key(&key);
        let becomes = tuple([198, 51, 100, 7], dport, [10, 0, 0, 2], 41234, proto, Side::OUTSIDE);
        let mut back = FlowEntry::new(&back_key, &becomes, seen, T0);
        (out.last, back.last) = (at(3900), at(3700));
        (out.packets, out.bytes, back.packets, back.bytes) = (12, 1830, 9, 5120);
        out.hop = HopStamp::initial(1);
        (key, out, back)
    }

    fn view((key, out, back): &(Tuple, FlowEntry, FlowEntry)) -> FlowView {
        let hop = |stamp: HopStamp| {
            (stamp == HopStamp::initial(1))
                .then(|| HopView { dev: "eth0".to_owned(), mac: "02:00:00:00:00:fe".to_owned() })
        };
        let pair = Pair { key, out, back: Some(back) };
        FlowView::new(pair, &Timeouts::RFC, at(4200), &hop).expect("a known protocol")
    }

    #[test]
    fn json_is_what_the_interface_says() {
        let list = FlowList { flows: vec![view(&pair(Proto::Tcp, 443))], total: 1 };
        assert_eq!(
            serde_json::to_string(&list).expect("serializes"),
            concat!(
                r#"{"flows":[{"proto":"tcp","state":"established","inside":"10.0.0.2:41234","#,
                r#""eip":"203.0.113.10:51002","remote":"198.51.100.7:443","direction":"out","packets_out":12,"#,
                r#""packets_in":9,"bytes_out":1830,"bytes_in":5120,"age_s":4.2,"idle_s":0.3,"#,
                r#""expires_in_s":7439.7,"hop_out":{"dev":"eth0","mac":"02:00:00:00:00:fe"},"hop_in":null}],"#,
                r#""total":1}"#
            )
        );
    }

    #[test]
    fn icmp_shows_the_identifier_where_ports_stand() {
        let view = view(&pair(Proto::Icmp, 0));
        assert_eq!((view.inside.port(), view.eip.port(), view.remote.port()), (41234, 51002, 51002));
        assert_eq!(view.state, State::Replied);
    }

    #[test]
    fn a_flow_without_its_answer_half_is_shown_as_new() {
        let (key, out, _) = pair(Proto::Tcp, 443);
        let pair = Pair { key: &key, out: &out, back: None };
        let view = FlowView::new(pair, &Timeouts::RFC, at(4200), &|_| None).expect("a known protocol");
        assert_eq!((view.state, view.packets_in, view.hop_out), (State::New, 0, None));
    }

    #[test]
    fn condemned_and_overdue_flows_are_dead() {
        let (key, mut out, back) = pair(Proto::Udp, 53);
        let dead =
            |out: &FlowEntry, now| Pair { key: &key, out, back: Some(&back) }.is_dead(&Timeouts::RFC, now);
        assert!(!dead(&out, at(3900 + 299_999)));
        assert!(dead(&out, at(3900 + 300_000)));
        out.last = out.last.dead();
        assert!(dead(&out, at(4200)));
    }

    #[test]
    fn every_filter_selects_by_its_own_field() {
        let view = view(&pair(Proto::Tcp, 443));
        let none = FlowFilter::default();
        let net = |text: &str| Some(text.parse().expect("prefix"));
        assert!(view.matches(&none));
        for (filter, expected) in [
            (FlowFilter { src: net("10.0.0.0/24"), ..none.clone() }, true),
            (FlowFilter { src: net("198.51.100.7/32"), ..none.clone() }, false),
            (FlowFilter { dst: net("198.51.100.7/32"), ..none.clone() }, true),
            (FlowFilter { dst: net("10.0.0.2/32"), ..none.clone() }, false),
            (FlowFilter { proto: Some(Proto::Tcp), ..none.clone() }, true),
            (FlowFilter { proto: Some(Proto::Udp), ..none.clone() }, false),
            (FlowFilter { eip: Some(Ipv4Addr::new(203, 0, 113, 10)), ..none.clone() }, true),
            (FlowFilter { eip: Some(Ipv4Addr::new(203, 0, 113, 11)), ..none.clone() }, false),
            (FlowFilter { sport: Some(41234), ..none.clone() }, true),
            (FlowFilter { sport: Some(51002), ..none.clone() }, false),
            (FlowFilter { dport: Some(443), ..none.clone() }, true),
            (FlowFilter { dport: Some(41234), ..none.clone() }, false),
            (FlowFilter { state: Some(State::Established), ..none.clone() }, true),
            (FlowFilter { state: Some(State::New), ..none.clone() }, false),
            (FlowFilter { proto: Some(Proto::Tcp), dport: Some(80), ..none.clone() }, false),
        ] {
            assert_eq!(view.matches(&filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn sorting_puts_the_largest_first() {
        let small = view(&pair(Proto::Tcp, 443));
        let large = FlowView { bytes_in: 1 << 40, idle_s: 0.1, ..small.clone() };
        let mut flows = vec![small.clone(), large.clone()];
        sort(&mut flows, SortBy::Bytes);
        assert_eq!(flows, [large.clone(), small.clone()]);
        sort(&mut flows, SortBy::Idle);
        assert_eq!(flows, [small, large]);
    }
}
