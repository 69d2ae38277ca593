//! What natgw itself tells the sender of a packet that it does not forward: ICMP errors (RFC 792, RFC 1812 section 4.3),
//! and how it must not (RFC 1122 section 3.2.2).

use crate::icmp;
use crate::tuple::Addr;

/// A kind of answer. The number is an index into a pinned counter array: append-only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Answer {
    /// ICMP time exceeded in transit, 11/0.
    TimeExceeded = 0,
    /// ICMP fragmentation needed, 3/4, with the MTU of the next hop (RFC 1191 section 4).
    TooBig = 1,
    /// TCP RST.
    Reset = 2,
    /// ICMP communication administratively prohibited, 3/13.
    Prohibited = 3,
    /// ICMP host unreachable, 3/1.
    Unreachable = 4,
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
    /// Every kind, in the order of their numbers.
    pub const ALL: [Self; 5] =
        [Self::TimeExceeded, Self::TooBig, Self::Reset, Self::Prohibited, Self::Unreachable];

    /// From its number.
    #[inline(always)]
    pub const fn from_number(n: u32) -> Option<Self> {
        match n {
            0 => Some(Self::TimeExceeded),
            1 => Some(Self::TooBig),
            2 => Some(Self::Reset),
            3 => Some(Self::Prohibited),
            4 => Some(Self::Unreachable),
            _ => None,
        }
    }

    /// Name in JSON and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TimeExceeded => "time_exceeded",
            Self::TooBig => "too_big",
            Self::Reset => "reset",
            Self::Prohibited => "prohibited",
            Self::Unreachable => "unreachable",
        }
    }

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
    fn numbers_are_indices_and_names_are_unique() {
        let mut names = std::collections::HashSet::new();
        for (i, a) in Answer::ALL.iter().enumerate() {
            assert_eq!(*a as usize, i);
            assert_eq!(Answer::from_number(i as u32), Some(*a));
            assert!(names.insert(a.name()));
        }
        assert!(Answer::ALL.len() <= ANSWER_SLOTS);
        assert_eq!(Answer::from_number(Answer::ALL.len() as u32), None);
    }

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
