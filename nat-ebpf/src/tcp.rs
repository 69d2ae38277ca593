//! A packet that shows something new about its flow's state: first of its kind, opening, or closing.

use nat_common::{
    FlowEntry, Proto, Stamp,
    tcp::{self, ANY, RST, State},
};

use crate::{flow::Flow, packet::Packet, stats, table};

/// Records the packet's flags. Out of line: a handful of packets per connection come here.
#[inline(never)]
pub fn observe(packet: &Packet, flow: Flow, now: Stamp) {
    if packet.tuple.proto == Proto::Tcp as u8 {
        observe_segment(packet, flow, now);
    } else {
        let before = flow.set_seen(ANY);
        if before & (ANY | FlowEntry::OUTBOUND) == 0 {
            count_established(packet);
        }
    }
}

#[inline(always)]
fn observe_segment(packet: &Packet, flow: Flow, now: Stamp) {
    let pair = table::find(&flow.pair_key(&packet.tuple));
    let outbound = flow.is_outbound();
    let states = |own: u32, other: u32| if outbound { (own, other) } else { (other, own) };
    let pair_seen = pair.map_or(0, Flow::seen);
    let (out, back) = states(flow.seen(), pair_seen);
    // A fresh connection on the tuple of one that ended (RFC 7857 section 2.2 would keep it closing, and the
    // new connection would then be forgotten after four idle minutes).
    if outbound
        && tcp::may_open(packet.flags)
        && matches!(State::of(packet.tuple.proto, out, back), State::Closing | State::Closed)
    {
        flow.clear_seen(tcp::FLAGS);
        flow.restart(now);
        if let Some(pair) = pair {
            pair.clear_seen(tcp::FLAGS);
            pair.restart(now);
        }
        stats::count(|s| s.attempts[Proto::Tcp.index()] += 1);
    }
    // A side that goes on talking had not reset the connection: its RST was forged or lost (RFC 5961).
    if packet.flags & RST == 0 && flow.seen() & RST != 0 {
        flow.clear_seen(RST);
    }
    let before = flow.set_seen(packet.flags);
    let pair_seen = pair.map_or(0, Flow::seen);
    let (out_before, back_before) = states(before, pair_seen);
    let (out, back) = states(before | packet.flags, pair_seen);
    if tcp::is_established(out, back) && !tcp::is_established(out_before, back_before) {
        count_established(packet);
    }
}

#[inline(always)]
fn count_established(packet: &Packet) {
    if let Some(proto) = Proto::from_number(packet.tuple.proto) {
        stats::count(|s| s.established[proto.index()] += 1);
    }
}
