//! What natgw itself tells the sender of a packet that it does not forward: ICMP errors (RFC 792, RFC 1812 section 4.3),
//! and how it must not (RFC 1122 section 3.2.2).

use crate::icmp;
use crate::list::list;
use crate::tuple::Addr;

list! {
    /// A kind of answer. Append-only: the number is an index into a pinned array of counters.
    Answer {
        0 TimeExceeded "time_exceeded" "ICMP time exceeded in transit, 11/0"
        /// It tells the MTU of the next hop (RFC 1191 section 4).
        1 TooBig "too_big" "ICMP fragmentation needed, 3/4"
        2 Reset "reset" "TCP RST"
        3 Prohibited "prohibited" "ICMP communication administratively prohibited, 3/13"
        4 Unreachable "unreachable" "ICMP host unreachable, 3/1"
    }
    tests in kinds
}

/// Room for kinds to come without a new schema.
pub const ANSWER_SLOTS: usize = 8;

/// Largest IPv4 datagram that an ICMP error is sent as (RFC 1812 section 4.3.2.3).
pub const MOST_BYTES: u32 = 576;

/// IPv4 and ICMP header in front of what is quoted.
pub const HEADERS: u32 = 28;

/// How much of the packet that caused an ICMP error is quoted at most: its beginning.
pub const QUOTE: u32 = MOST_BYTES - HEADERS;

/// TTL of what natgw itself sends.
pub const TTL: u8 = 64;

impl Answer {
    /// ICMP type and code; of a kind that is ICMP.
    #[inline(always)]
    pub const fn icmp(self) -> (u8, u8) {
        match self {
            Self::TimeExceeded => (icmp::TIME_EXCEEDED, 0),
            Self::TooBig => (icmp::UNREACHABLE, 4),
            Self::Prohibited => (icmp::UNREACHABLE, 13),
            Self::Unreachable | Self::Reset => (icmp::UNREACHABLE, 1),
        }
    }
}

/// Whether a host with this address may be sent an ICMP error: the source must be a single host (RFC 1122 section
/// 3.2.2), so not 0/8, loopback, multicast, class E or broadcast.
#[inline(always)]
pub const fn may_be_told(source: Addr) -> bool {
    let h = source.host();
    h >> 24 != 0 && h >> 24 != 127 && h >> 28 < 0xe
}

/// TOS of an ICMP error: that of the packet it is about, with precedence 6, internetwork control (RFC 1812 section
/// 4.3.2.5), and without ECN.
#[inline(always)]
pub const fn tos(offender: u8) -> u8 {
    offender & 0x1c | 0xc0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_hosts_are_told() {
        for (a, may) in [
            ([10, 0, 0, 1], true),
            ([198, 51, 100, 1], true),
            ([169, 254, 1, 1], true),
            ([0, 0, 0, 0], false),
            ([127, 0, 0, 1], false),
            ([224, 0, 0, 1], false),
            ([240, 0, 0, 1], false),
            ([255, 255, 255, 255], false),
        ] {
            assert_eq!(may_be_told(Addr::from_octets(a)), may, "{a:?}");
        }
    }
}
