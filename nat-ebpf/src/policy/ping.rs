//! The host's own pings from a shared EIP. An identifier is no port that a socket lookup finds, so the egress guard notes
//! those that the host asks with, and they are the host's for a while.

use aya_ebpf::programs::TcContext;
use nat_common::{Addr, Port, Proto, Side, Stamp, Ticks, Tuple, icmp, stamp::REVIVE_WINDOW};

use crate::{
    kernel::clock, maps, table, table::flow::Flow, wire::packet::ETHERNET, wire::packet::ETHERTYPE_IPV4,
    wire::packet::OFFSET_BITS,
};

/// How long an identifier is the host's after it asked with it: as long as a client's would be (RFC 5508 REQ-2).
const KEPT: Ticks = Ticks::from_ms(60_000);

/// Whether an echo reply with this tuple is the answer to a ping of the host's.
#[inline(always)]
pub fn is_hosts(answer: &Tuple, now: Stamp) -> bool {
    maps::pinged(answer).is_some_and(|asked| asked.age(now) < KEPT)
}

/// Notes an echo request that the host sends from a shared EIP, and ends the client's flow that would get the answer. The
/// client may have been first: it could hold every identifier towards a server, and the host has no other way to ask.
///
/// The note comes before the look at the table, so that a claim which comes after this look finds it. A claim in the middle
/// of its own two steps may get by; the host's next ping ends it.
#[inline(never)]
pub fn note(ctx: &TcContext, src: Addr, dst: Addr) {
    let Some(id) = identifier(ctx) else { return };
    let side = if maps::is_one_armed() { Side::ONEARM } else { Side::OUTSIDE };
    let answer = Tuple {
        src: dst,
        dst: src,
        sport: Port { be: 0 },
        dport: id,
        proto: Proto::Icmp as u8,
        side,
        place: 0,
    };
    let now = clock::now();
    maps::note_ping(&answer, now);
    let Some(inbound) = table::find(&answer) else { return };
    // As the reaper does, the outbound half first, which a packet of the client's could revive the flow by. One that is being
    // born has none yet: its dead inbound half is enough for the host, and the reaper ends the other.
    if let Some(outbound) = table::pair(inbound, &answer) {
        condemn(outbound, &inbound.pair_key(&answer), now);
    }
    condemn(inbound, &answer, now);
}

/// The identifier, when the frame is an echo request. The host's frames have no priority tags but beside them.
#[inline(always)]
fn identifier(ctx: &TcContext) -> Option<Port> {
    let load = |at: usize| ctx.load::<u8>(at).ok();
    if ctx.load::<u16>(ETHERNET - 2).ok()? != ETHERTYPE_IPV4 || load(ETHERNET + 9)? != Proto::Icmp as u8 {
        return None;
    }
    if ctx.load::<u16>(ETHERNET + 6).ok()? & OFFSET_BITS != 0 {
        return None;
    }
    let l4 = ETHERNET + usize::from(load(ETHERNET)? & 0xf) * 4;
    if load(l4)? != icmp::ECHO_REQUEST {
        return None;
    }
    ctx.load::<u16>(l4 + 4).ok().map(|be| Port { be })
}

/// Condemns one half for good. Packets may move its stamp meanwhile. Spelled out for Linux 6.1, as in `reap.rs`.
#[inline(always)]
fn condemn(half: Flow, key: &Tuple, now: Stamp) {
    let _ = try_condemn(half, key, now) || try_condemn(half, key, now) || try_condemn(half, key, now);
}

/// `false`: somebody changed the stamp.
#[inline(never)]
fn try_condemn(half: Flow, key: &Tuple, now: Stamp) -> bool {
    let last = half.last();
    // Dead for so long that nobody revives it, or given to another flow meanwhile, whose stamp the swap would not hit.
    let is_past = last.is_dead() && last.age(now) >= REVIVE_WINDOW;
    is_past || !half.is_still(key) || half.restamp(last, now.dead_for_good())
}
