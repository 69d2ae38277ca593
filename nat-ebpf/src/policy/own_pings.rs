//! The host's own pings from a shared EIP. An identifier is no port that a socket lookup finds, so the egress guard notes
//! those that the host asks with, and they are the host's for a while.

use nat_common::{Addr, Port, Proto, Side, Stamp, Ticks, Tuple, icmp, stamp::REVIVE_WINDOW};

use crate::{
    frame::{View, skb::Skb},
    kernel::clock,
    maps,
    table::{self, EntryRef},
    wire::{
        IPV4_MAX, IPV4_MIN, Ipv4, OFFSET_BITS, TRANSPORT_MIN, load,
        tags::{MOST_TAGS, VLAN},
    },
};

/// How long an identifier is the host's after it asked with it: as long as a client's would be (RFC 5508 REQ-2).
const KEPT: Ticks = Ticks::from_ms(60_000);

/// Whether an echo reply with this tuple is the answer to a ping of the host's.
#[inline(always)]
pub fn is_hosts(answer: &Tuple, now: Stamp) -> bool {
    maps::pinged(*answer).is_some_and(|asked| asked.age(now) < KEPT)
}

/// Notes an echo request that the host sends from a shared EIP, and ends the client's flow that would get the answer. The
/// client may have been first: it could hold every identifier towards a server, and the host has no other way to ask.
///
/// `at`: offset of the network header.
///
/// The note comes before the look at the table, so that a claim which comes after this look finds it. A claim in the middle
/// of its own two steps may get by; the host's next ping ends it.
#[inline(never)]
pub fn note(frame: Skb, at: usize, src: Addr, dst: Addr) {
    let Some(id) = identifier(frame, at) else { return };
    let side = if maps::is_one_armed() { Side::ONEARM } else { Side::OUTSIDE };
    let answer = Tuple {
        src: dst,
        dst: src,
        sport: Port { be: 0 },
        dport: id,
        proto: Proto::Icmp as u8,
        side,
        state: 0,
    };
    let now = clock::now();
    maps::note_ping(&answer, now);
    let Some(inbound) = table::find(&answer) else { return };
    // The outbound half first, as the reaper does: by its stamp a packet of the client's could revive the flow. A flow that is just
    // being born has no outbound half yet. Its dead inbound half is enough for the host's answer to pass, and the reaper buries
    // what comes of the birth.
    if let Some(outbound) = table::pair(inbound, &answer) {
        condemn(outbound, &inbound.pair_key(&answer), now);
    }
    condemn(inbound, &answer, now);
}

/// The identifier, when the frame is an echo request.
#[inline(always)]
fn identifier(frame: Skb, at: usize) -> Option<Port> {
    if at > Skb::LINK + MOST_TAGS * VLAN {
        return None;
    }
    let ip = frame.start() + at;
    if ip + IPV4_MIN > frame.end() {
        return None;
    }
    // SAFETY: IPV4_MIN bytes from `ip` are in bounds.
    let header = unsafe { Ipv4::load(ip as *const u8) };
    if header.proto != Proto::Icmp as u8 || header.fragment & OFFSET_BITS != 0 || header.header() > IPV4_MAX {
        return None;
    }
    let l4 = ip + header.header();
    if l4 + TRANSPORT_MIN > frame.end() {
        return None;
    }
    // SAFETY: TRANSPORT_MIN bytes from `l4` are in bounds.
    unsafe {
        if load::<u8>(l4 as *const u8, 0) == icmp::ECHO_REQUEST {
            Some(load(l4 as *const u8, 4))
        } else {
            None
        }
    }
}

/// Condemns one half for good, trying again when a packet moves its stamp meanwhile. Three calls instead of a loop: LLVM may lay a
/// loop out in a way that the verifier of Linux 6.1 refuses (`control/reap.rs`, `condemn`).
#[inline(always)]
fn condemn(half: EntryRef, key: &Tuple, now: Stamp) {
    let _ = try_condemn(half, key, now) || try_condemn(half, key, now) || try_condemn(half, key, now);
}

/// `false`: somebody changed the stamp.
#[inline(never)]
fn try_condemn(half: EntryRef, key: &Tuple, now: Stamp) -> bool {
    let last = half.last();
    // Nothing is left to do for a half that is dead for so long that nobody revives it, nor for one whose slot another flow has by
    // now. If that happens after this look, the swap fails: the other flow's stamp is another.
    let is_past = last.is_dead() && last.age(now) >= REVIVE_WINDOW;
    is_past || !half.is_still(key) || half.restamp(last, now.dead_for_good())
}
