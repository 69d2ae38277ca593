//! How long a flow may be idle, by protocol and phase: as people configure it, and as the packet path compares it.

use bytemuck::{Pod, Zeroable};

use crate::stamp::{MAX_AGE, Stamp, TOUCH, Ticks};
use crate::tcp::Phase;
use crate::tuple::Proto;

/// The longest timeout that can be configured: 12 days.
pub const MAX_TIMEOUT_MS: u32 = 12 * 24 * 3600 * 1000;

const SECOND: u32 = 1000;

/// AWS NAT Gateway: 350 s for whatever is idle.
const AWS: u32 = 350 * SECOND;

macro_rules! timeouts {
    ($($(#[$doc:meta])* $key:ident = $rfc:expr;)+) => {
        /// Idle timeouts in milliseconds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Timeouts {$(
            $(#[$doc])*
            pub $key: u32,
        )+}

        impl Timeouts {
            /// Configuration keys, in the order of the fields.
            pub const KEYS: [&'static str; [$(stringify!($key)),+].len()] = [$(stringify!($key)),+];

            /// RFC 5382 REQ-5 (established 2 h 4 min; transitory 4 min), RFC 7857 section 2 (closing and after RST
            /// 4 min), RFC 4787 REQ-5 (UDP 5 min recommended, never below 2), RFC 5508 REQ-2 (ICMP 60 s).
            pub const RFC: Self = Self { $($key: $rfc * SECOND),+ };

            /// AWS NAT Gateway: 350 s for whatever is idle.
            pub const AWS: Self = Self { $($key: AWS),+ };

            /// The timeouts with their configuration keys.
            pub const fn named(&self) -> [(&'static str, u32); Self::KEYS.len()] {
                [$((stringify!($key), self.$key)),+]
            }

            /// The timeout with this configuration key, to be changed. `None`: there is no such key.
            pub fn by_key(&mut self, key: &str) -> Option<&mut u32> {
                match key {
                    $(stringify!($key) => Some(&mut self.$key),)+
                    _ => None,
                }
            }
        }

        /// [`Timeouts`] as the packet path compares them, [`SLACK`] included: a flow whose younger stamp has this age is
        /// over.
        ///
        /// Never early: a packet that comes before last packet + timeout finds the flow alive. At the latest it is over
        /// half a second after that.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
        pub struct IdleLimits {
            $(
                $(#[$doc])*
                pub $key: Ticks,
            )+
            /// An entry touched more recently than this is alive, whatever its state: the shortest of the above, but at
            /// most [`MAX_FRESH`]. An older entry is to forget its hop, so that it never meets the same generation of a
            /// hop slot again.
            pub fresh: Ticks,
        }

        impl From<&Timeouts> for IdleLimits {
            fn from(timeouts: &Timeouts) -> Self {
                let limit = |ms| Ticks::from_ms(ms).plus(SLACK);
                let limits = Self { $($key: limit(timeouts.$key),)+ fresh: MAX_FRESH };
                Self { fresh: limits.all().into_iter().fold(MAX_FRESH, Ticks::min), ..limits }
            }
        }

        impl IdleLimits {
            /// The limits of all phases.
            pub const fn all(&self) -> [Ticks; Timeouts::KEYS.len()] {
                [$(self.$key),+]
            }
        }
    };
}

// The only list of timeouts, in seconds by the RFCs: the configuration's keys, `--timeout` and what the packet path
// compares come from it. IdleLimits is pinned, so a new line, or another order, is another schema (`abi::SCHEMA`).
timeouts! {
    /// TCP, handshake incomplete.
    tcp_new = 240;
    /// TCP, established; also when only one side has sent FIN.
    tcp_established = 7440;
    /// TCP, both sides have sent FIN.
    tcp_closing = 240;
    /// TCP, one side has sent RST.
    tcp_closed = 240;
    /// UDP, no answer yet.
    udp_unreplied = 120;
    /// UDP, answered.
    udp = 300;
    /// ICMP queries.
    icmp = 60;
}

/// How much older than a flow's last packet its stamp may look, in ticks that differ:
///
/// - The packet left the stamp as it was, because it was younger than [`TOUCH`]: one tick less than that.
/// - The clock that the packet read was behind by up to a tick of its own, which is shorter than one of ours.
/// - Two moments less than n ticks apart differ by n when rounded down, and `age >= limit` must not be true of n.
pub const SLACK: Ticks = Ticks(TOUCH.0 - 1).plus(Ticks(1)).plus(Ticks(1));

/// Entries older than this are looked at properly, whatever the timeouts: see [`IdleLimits::fresh`].
pub const MAX_FRESH: Ticks = Ticks::from_ms(60_000);

impl IdleLimits {
    /// Age of its younger stamp at which a flow is over.
    #[inline(always)]
    pub const fn of(&self, proto: u8, phase: Phase) -> Ticks {
        if proto == Proto::Icmp as u8 {
            return self.icmp;
        }
        match phase {
            Phase::New => self.tcp_new,
            Phase::Established | Phase::HalfClosed => self.tcp_established,
            Phase::Finished => self.tcp_closing,
            Phase::Reset => self.tcp_closed,
            Phase::Unreplied => self.udp_unreplied,
            Phase::Replied => self.udp,
        }
    }

    /// The shortest that a flow of this protocol may get.
    pub const fn shortest(&self, proto: u8) -> Ticks {
        match proto {
            6 => self.tcp_new.min(self.tcp_established).min(self.tcp_closing).min(self.tcp_closed),
            17 => self.udp_unreplied.min(self.udp),
            _ => self.icmp,
        }
    }

    /// Time until a flow whose two halves were last touched at `a` and `b` is over.
    #[inline(always)]
    pub const fn left(&self, proto: u8, phase: Phase, a: Stamp, b: Stamp, now: Stamp) -> Ticks {
        self.of(proto, phase).minus(a.later(b, now).age(now))
    }

    /// Whether it is over.
    #[inline(always)]
    pub const fn is_expired(&self, proto: u8, phase: Phase, a: Stamp, b: Stamp, now: Stamp) -> bool {
        a.later(b, now).age(now).0 >= self.of(proto, phase).0
    }
}

crate::map_value!(IdleLimits);
const _: () = assert!(Timeouts::RFC.tcp_established < MAX_TIMEOUT_MS);
const _: () = assert!(Ticks::from_ms(MAX_TIMEOUT_MS).plus(SLACK).0 < MAX_AGE.0);
const _: () = assert!(TOUCH.0 < MAX_FRESH.0);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
        let (t, at) = (IdleLimits::from(&Timeouts::RFC), |ticks: u32| Stamp { word: ticks });
        let limit = t.udp.0;
        assert!(!t.is_expired(17, Phase::Replied, at(100), at(399), at(398 + limit)));
        assert!(
            t.is_expired(17, Phase::Replied, at(100), at(399), at(399 + limit)),
            "exactly at the deadline"
        );
        assert!(!t.is_expired(17, Phase::Replied, at(399), at(100), at(398 + limit)), "either half counts");
        assert_eq!(t.left(17, Phase::Replied, at(100), at(399), at(398 + limit)), Ticks(1));
        assert_eq!(t.left(17, Phase::Replied, at(100), at(399), at(500 + limit)), Ticks(0));
    }

    #[test]
    fn what_is_fresh_is_alive_in_every_phase() {
        let limits = IdleLimits::from(&Timeouts::RFC);
        assert_eq!(limits.fresh, MAX_FRESH);
        let short = IdleLimits::from(&Timeouts { udp: 1000, ..Timeouts::RFC });
        assert_eq!(short.fresh, short.udp);
        for limits in [limits, short, IdleLimits::from(&Timeouts::AWS)] {
            assert!(limits.all().into_iter().all(|limit| limits.fresh <= limit));
            assert!(limits.fresh <= MAX_FRESH);
        }
    }

    /// The worst that can come together, which random packets hardly ever hit: the stamp is one tick less than [`TOUCH`]
    /// old, the packet's clock is behind by a little, and the timeout is a whole number of ticks.
    #[test]
    fn slack_is_what_it_takes_and_no_more() {
        const TICK: u64 = 1 << 26;
        let whole = Timeouts { udp: 1_048_576, ..Timeouts::RFC };
        assert_eq!(u64::from(whole.udp) * 1_000_000, 15_625 * TICK);
        let limits = IdleLimits::from(&whole);
        let stamp = Stamp::from_ns(100 * TICK);
        let packet = (100 + u64::from(TOUCH.0)) * TICK + 1;
        assert!(stamp.is_fresh(Stamp::from_ns(packet - 2), TOUCH), "the packet leaves the stamp as it is");
        let over = |ns| limits.is_expired(17, Phase::Replied, stamp, stamp, Stamp::from_ns(ns));
        let last = packet + 15_625 * TICK - 1;
        assert!(!over(last), "the last moment at which it must be alive");
        assert!(over(last + TICK), "a tick later it need not be");
    }

    /// A clock that ticks every `period`, as packets read it.
    fn read(ns: u64, period: u64) -> Stamp {
        Stamp::from_ns(ns / period * period)
    }

    proptest! {
        /// Packets at any moments, the rule by which they move the stamp, and a look at any moment: before last packet +
        /// timeout the flow is never over, and half a second after that it always is.
        #[test]
        fn never_early_and_at_most_half_a_second_late(
            start in prop_oneof![0..u64::MAX / 4, (1u64 << 57) - 5_000_000_000..1 << 57],
            gaps in proptest::collection::vec(0..2_000_000_000u64, 1..40),
            period in prop_oneof![Just(1_000_000u64), Just(4_000_000), Just(10_000_000)],
            timeout_ms in 1..20_000u32,
            early in 1..20_000_000_000u64,
            late in 500_000_000..20_000_000_000u64,
        ) {
            let limits = IdleLimits::from(&Timeouts { udp: timeout_ms, ..Timeouts::RFC });
            let mut packet = start;
            let mut stamp = read(start, period);
            for gap in gaps {
                packet += gap;
                let now = read(packet, period);
                if !stamp.is_fresh(now, TOUCH) {
                    stamp = now;
                }
            }
            let deadline = packet + u64::from(timeout_ms) * 1_000_000;
            let over = |at| limits.is_expired(17, Phase::Replied, stamp, stamp, read(at, period));
            let before = deadline.saturating_sub(early).max(packet);
            prop_assert!(before >= deadline || !over(before), "{} ns early", deadline - before);
            prop_assert!(!over(deadline - 1), "at the last moment");
            prop_assert!(over(deadline + late), "{late} ns late");
        }
    }
}
