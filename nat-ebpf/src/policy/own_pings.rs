//! The host's own pings from a shared EIP. An identifier is no port that a socket lookup finds, so the egress guard notes
//! those that the host asks with, and they are the host's for a while.

use nat_common::{Addr, Port, Proto, Side, Stamp, Ticks, Tuple};

use super::end;
use crate::{frame::View, kernel::clock, maps, wire::parse};

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
pub fn note<V: View>(frame: V, at: usize, src: Addr, dst: Addr) {
    let Some(id) = parse::echo_request(frame, at) else { return };
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
    end::flow(&answer);
}
