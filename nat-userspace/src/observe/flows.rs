//! A flow as people and programs see it. The fields and their names are the JSON interface.

use std::net::{Ipv4Addr, SocketAddrV4};

use nat_common::reap::is_candidate;
use nat_common::tcp::{Phase, State};
use nat_common::timeouts::IdleLimits;
use nat_common::{FlowEntry, HopStamp, Proto, Stamp, Ticks, Tuple};
use serde::{Serialize, Serializer};

use crate::model::filter::{Filter, Sort};

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
    /// Seconds since the flow began.
    pub age_s: f64,
    /// Seconds since the last packet of either direction that refreshed the flow; up to 0.3 s too many.
    pub idle_s: f64,
    /// Seconds until it is forgotten if it stays idle, to 0.2 s.
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
        self.phase().state()
    }

    fn phase(&self) -> Phase {
        Phase::of(self.key.proto, self.out.seen, self.back.map_or(0, |b| b.seen))
    }

    /// Stamps of the two halves.
    fn stamps(&self) -> (Stamp, Stamp) {
        (self.out.last, self.back.map_or(self.out.last, |b| b.last))
    }

    /// Time since the last packet of either direction.
    fn idle(&self, now: Stamp) -> Ticks {
        let (a, b) = self.stamps();
        a.later(b, now).age(now)
    }

    /// Time until the flow is over if it stays idle.
    fn left(&self, limits: &IdleLimits, now: Stamp) -> Ticks {
        let (a, b) = self.stamps();
        limits.left(self.key.proto, self.phase(), a, b, now)
    }

    /// Condemned by the reaper, or past its deadline, which to the packet path is the same.
    pub fn is_dead(&self, limits: &IdleLimits, now: Stamp) -> bool {
        let condemned = self.out.last.is_dead() || self.back.is_some_and(|b| b.last.is_dead());
        condemned || self.left(limits, now) == Ticks(0)
    }

    /// What flows are sorted by: the largest comes first.
    pub fn rank(&self, by: Sort, now: Stamp) -> u64 {
        let both = |field: fn(&FlowEntry) -> u64| field(self.out) + self.back.map_or(0, field);
        match by {
            Sort::Age => self.out.created.age(now).0.into(),
            Sort::Idle => self.idle(now).0.into(),
            Sort::Packets => both(|e| e.packets),
            Sort::Bytes => both(|e| e.bytes),
        }
    }
}

/// Whether the outbound half of a flow shows everything that `filter` asks for, but for the state, which takes both.
pub fn fits(filter: &Filter, key: &Tuple, out: &FlowEntry) -> bool {
    let Filter { src, dst, proto, eip, sport, dport, state: _ } = filter;
    src.is_none_or(|net| net.contains(&Ipv4Addr::from(key.src)))
        && dst.is_none_or(|net| net.contains(&Ipv4Addr::from(out.new_dst)))
        && proto.is_none_or(|p| p as u8 == key.proto)
        && eip.is_none_or(|a| a == Ipv4Addr::from(out.new_src))
        && sport.is_none_or(|p| p == key.sport.host())
        && dport.is_none_or(|p| p == remote_port(key, out))
}

/// Whether a flow is alive whatever its inbound half says: the outbound one is fresh enough for every state.
pub fn is_surely_alive(limits: &IdleLimits, key: &Tuple, out: &FlowEntry, now: Stamp) -> bool {
    !is_candidate(limits, key, out, out.last.age(now))
}

impl FlowView {
    /// The view of `pair` at `now`. `None` when its protocol is none of natgw's.
    ///
    /// `hop` tells where flows with a stamp go.
    pub fn new(
        pair: Pair<'_>,
        limits: &IdleLimits,
        now: Stamp,
        hop: &dyn Fn(HopStamp) -> Option<HopView>,
    ) -> Option<Self> {
        let Pair { key, out, back } = pair;
        let proto = Proto::from_number(key.proto)?;
        let state = pair.state();
        Some(Self {
            proto,
            state,
            inside: SocketAddrV4::new(Ipv4Addr::from(key.src), key.sport.host()),
            eip: SocketAddrV4::new(Ipv4Addr::from(out.new_src), out.new_sport.host()),
            remote: SocketAddrV4::new(Ipv4Addr::from(out.new_dst), remote_port(key, out)),
            direction: Direction::Out,
            packets_out: out.packets,
            packets_in: back.map_or(0, |b| b.packets),
            bytes_out: out.bytes,
            bytes_in: back.map_or(0, |b| b.bytes),
            age_s: seconds(out.created.age(now)),
            idle_s: seconds(pair.idle(now)),
            expires_in_s: seconds(pair.left(limits, now)),
            hop_out: hop(out.hop),
            hop_in: back.and_then(|b| hop(b.hop)),
        })
    }
}

/// The port of the remote end; of ICMP the identifier that it sees.
fn remote_port(key: &Tuple, out: &FlowEntry) -> u16 {
    if key.proto == Proto::Icmp as u8 { out.new_sport.host() } else { out.new_dport.host() }
}

/// To a tenth: a tick is 0.067 s, and so is what stamps cannot tell.
fn seconds(span: Ticks) -> f64 {
    let tenths = (span.ms() + 50) / 100;
    f64::from(u32::try_from(tenths).unwrap_or(u32::MAX)) / 10.0
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
    use nat_common::timeouts::Timeouts;
    use nat_common::{Addr, Port, Side};

    use super::*;

    const T0: Stamp = Stamp { word: 15_000 };

    /// So many milliseconds after T0.
    fn at(ms: u32) -> Stamp {
        Stamp { word: T0.word + Stamp::from_ns(u64::from(ms) * 1_000_000).word }
    }

    fn rfc() -> IdleLimits {
        IdleLimits::from(&Timeouts::RFC)
    }

    /// So many ticks after the outbound half's last packet.
    fn after_last(ticks: u32) -> Stamp {
        Stamp { word: at(3900).word + ticks }
    }

    fn tuple(src: [u8; 4], sport: u16, dst: [u8; 4], dport: u16, proto: Proto, side: u8) -> Tuple {
        Tuple {
            src: Addr::from_octets(src),
            dst: Addr::from_octets(dst),
            sport: Port::new(sport),
            dport: Port::new(dport),
            proto: proto as u8,
            side,
            state: 0,
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
        FlowView::new(pair, &rfc(), at(4200), &hop).expect("a known protocol")
    }

    #[test]
    fn json_is_what_the_interface_says() {
        assert_eq!(
            serde_json::to_string(&view(&pair(Proto::Tcp, 443))).expect("serializes"),
            concat!(
                r#"{"proto":"tcp","state":"established","inside":"10.0.0.2:41234","#,
                r#""eip":"203.0.113.10:51002","remote":"198.51.100.7:443","direction":"out","packets_out":12,"#,
                r#""packets_in":9,"bytes_out":1830,"bytes_in":5120,"age_s":4.2,"idle_s":0.3,"#,
                r#""expires_in_s":7440.1,"hop_out":{"dev":"eth0","mac":"02:00:00:00:00:fe"},"hop_in":null}"#
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
        let view = FlowView::new(pair, &rfc(), at(4200), &|_| None).expect("a known protocol");
        assert_eq!((view.state, view.packets_in, view.hop_out), (State::New, 0, None));
    }

    #[test]
    fn condemned_and_overdue_flows_are_dead() {
        let (key, mut out, back) = pair(Proto::Udp, 53);
        let dead = |out: &FlowEntry, now| Pair { key: &key, out, back: Some(&back) }.is_dead(&rfc(), now);
        let limit = rfc().udp.0;
        assert!(!dead(&out, after_last(limit - 1)));
        assert!(dead(&out, after_last(limit)));
        out.last = out.last.dead();
        assert!(dead(&out, at(4200)));
    }

    #[test]
    fn every_filter_selects_by_its_own_field() {
        let (key, out, _) = pair(Proto::Tcp, 443);
        let fits = |filter: &Filter| fits(filter, &key, &out);
        let none = Filter::default();
        let net = |text: &str| Some(text.parse().expect("prefix"));
        assert!(fits(&none));
        for (filter, expected) in [
            (Filter { src: net("10.0.0.0/24"), ..none.clone() }, true),
            (Filter { src: net("198.51.100.7/32"), ..none.clone() }, false),
            (Filter { dst: net("198.51.100.7/32"), ..none.clone() }, true),
            (Filter { dst: net("10.0.0.2/32"), ..none.clone() }, false),
            (Filter { proto: Some(Proto::Tcp), ..none.clone() }, true),
            (Filter { proto: Some(Proto::Udp), ..none.clone() }, false),
            (Filter { eip: Some(Ipv4Addr::new(203, 0, 113, 10)), ..none.clone() }, true),
            (Filter { eip: Some(Ipv4Addr::new(203, 0, 113, 11)), ..none.clone() }, false),
            (Filter { sport: Some(41234), ..none.clone() }, true),
            (Filter { sport: Some(51002), ..none.clone() }, false),
            (Filter { dport: Some(443), ..none.clone() }, true),
            (Filter { dport: Some(41234), ..none.clone() }, false),
            (Filter { proto: Some(Proto::Tcp), dport: Some(80), ..none.clone() }, false),
        ] {
            assert_eq!(fits(&filter), expected, "{filter:?}");
        }
    }

    #[test]
    fn an_identifier_is_the_port_of_both_ends() {
        let (key, out, _) = pair(Proto::Icmp, 0);
        assert!(fits(&Filter { sport: Some(41234), dport: Some(51002), ..Filter::default() }, &key, &out));
    }

    #[test]
    fn a_fresh_outbound_half_vouches_for_the_flow() {
        let (key, mut out, back) = pair(Proto::Udp, 53);
        let sure = |out: &FlowEntry, ticks| is_surely_alive(&rfc(), &key, out, after_last(ticks));
        let limit = rfc().udp_unreplied.0;
        assert!(sure(&out, limit - 1));
        assert!(!sure(&out, limit), "unanswered, it would be dead");
        let pair = Pair { key: &key, out: &out, back: Some(&back) };
        assert!(!pair.is_dead(&rfc(), after_last(limit)), "and the other half tells that it was answered");
        out.last = out.last.dead();
        assert!(!sure(&out, 4));
    }

    #[test]
    fn ranks_add_up_both_directions() {
        let (key, out, back) = pair(Proto::Tcp, 443);
        let pair = Pair { key: &key, out: &out, back: Some(&back) };
        let ranks = [Sort::Age, Sort::Idle, Sort::Packets, Sort::Bytes].map(|by| pair.rank(by, at(4200)));
        assert_eq!(ranks, [62, 4, 21, 6950]);
    }
}
