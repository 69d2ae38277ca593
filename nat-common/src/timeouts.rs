//! How long a flow may be idle, by protocol and state.

use bytemuck::{Pod, Zeroable};

use crate::stamp::{MAX_AGE_MS, Stamp};
use crate::tcp::State;
use crate::tuple::Proto;

/// Idle timeouts in milliseconds.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Timeouts {
    /// TCP, handshake incomplete.
    pub tcp_new: u32,
    /// TCP, established.
    pub tcp_established: u32,
    /// TCP, one side has sent FIN.
    pub tcp_closing: u32,
    /// TCP, both sides have sent FIN, or one RST.
    pub tcp_closed: u32,
    /// UDP, no answer yet.
    pub udp_unreplied: u32,
    /// UDP, answered.
    pub udp: u32,
    /// ICMP queries.
    pub icmp: u32,
    /// The smallest of the above: an entry touched more recently than this is alive, whatever its state.
    pub shortest: u32,
}

const SECOND: u32 = 1000;

impl Timeouts {
    /// RFC 5382 REQ-5 (established 2 h 4 min; transitory 4 min), RFC 7857 section 2 (closing and after RST
    /// 4 min), RFC 4787 REQ-5 (UDP 5 min recommended, never below 2), RFC 5508 REQ-2 (ICMP 60 s).
    pub const RFC: Self = Self {
        tcp_new: 240 * SECOND,
        tcp_established: 7440 * SECOND,
        tcp_closing: 240 * SECOND,
        tcp_closed: 240 * SECOND,
        udp_unreplied: 120 * SECOND,
        udp: 300 * SECOND,
        icmp: 60 * SECOND,
        shortest: 60 * SECOND,
    };

    /// AWS NAT Gateway: 350 s for whatever is idle.
    pub const AWS: Self = Self {
        tcp_new: 350 * SECOND,
        tcp_established: 350 * SECOND,
        tcp_closing: 350 * SECOND,
        tcp_closed: 350 * SECOND,
        udp_unreplied: 350 * SECOND,
        udp: 350 * SECOND,
        icmp: 350 * SECOND,
        shortest: 350 * SECOND,
    };

    /// The seven timeouts with their configuration keys.
    pub const fn named(&self) -> [(&'static str, u32); 7] {
        [
            ("tcp_new", self.tcp_new),
            ("tcp_established", self.tcp_established),
            ("tcp_closing", self.tcp_closing),
            ("tcp_closed", self.tcp_closed),
            ("udp_unreplied", self.udp_unreplied),
            ("udp", self.udp),
            ("icmp", self.icmp),
        ]
    }

    /// Recomputes [`Self::shortest`] after a change.
    #[must_use]
    pub fn with_shortest(mut self) -> Self {
        self.shortest = self.named().iter().map(|(_, ms)| *ms).min().unwrap_or(0);
        self
    }

    /// The idle timeout of a flow, in milliseconds.
    #[inline(always)]
    pub const fn of(&self, proto: u8, state: State) -> u32 {
        if proto == Proto::Icmp as u8 {
            return self.icmp;
        }
        match state {
            State::New => self.tcp_new,
            State::Established => self.tcp_established,
            State::Closing => self.tcp_closing,
            State::Closed => self.tcp_closed,
            State::Unreplied => self.udp_unreplied,
            State::Replied => self.udp,
        }
    }

    /// Whether a flow whose two halves were last touched at `a` and `b` is past its deadline.
    #[inline(always)]
    pub const fn is_expired(&self, proto: u8, state: State, a: Stamp, b: Stamp, now: Stamp) -> bool {
        a.later(b, now).age_ms(now) >= self.of(proto, state)
    }
}

crate::map_value!(Timeouts);
const _: () = assert!(Timeouts::RFC.tcp_established < MAX_AGE_MS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profiles_name_their_shortest() {
        assert_eq!(Timeouts::RFC, Timeouts::RFC.with_shortest());
        assert_eq!(Timeouts::AWS, Timeouts::AWS.with_shortest());
    }

    #[test]
    fn rfc_floors() {
        let t = Timeouts::RFC;
        assert!(t.tcp_established >= 7_440_000, "RFC 5382 REQ-5 (T5)");
        assert!(t.tcp_new >= 240_000 && t.tcp_closing >= 240_000 && t.tcp_closed >= 240_000, "T5, X2, X3");
        assert!(t.udp_unreplied >= 120_000 && t.udp >= 300_000, "RFC 4787 REQ-5 (U5)");
        assert!(t.icmp >= 60_000, "RFC 5508 REQ-2 (I2)");
    }

    #[test]
    fn deadline_is_the_later_half_plus_the_timeout() {
        let (t, at) = (Timeouts::RFC, |s: u32| Stamp { ms: s * 1000 });
        assert!(!t.is_expired(17, State::Replied, at(100), at(399), at(698)));
        assert!(t.is_expired(17, State::Replied, at(100), at(399), at(699)), "exactly at the deadline");
        assert!(!t.is_expired(17, State::Replied, at(399), at(100), at(698)), "either half counts");
    }
}
