//! What becomes of a packet, and why: one list shared by the packet path, the counters and every text.

use core::num::NonZeroU32;

use crate::answer::Answer;

/// Reasons for a drop. Append-only: the number is an index into a pinned counter array.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Reason {
    /// From outside to an EIP, and no flow, forward or socket wants it.
    UnsolicitedInbound = 0,
    /// No free port towards this destination on any EIP of the pool.
    PortExhausted = 1,
    /// The flow table is full.
    TableFull = 2,
    /// A protocol or ICMP type that cannot be translated.
    UnsupportedProto = 3,
    /// Malformed or truncated IPv4 or transport header.
    BadHeader = 4,
    /// A checksum that must be right is not.
    BadChecksum = 5,
    /// An IPv4 fragment.
    Fragment = 6,
    /// From inside, belongs to no flow and may not start one (TCP without SYN, an echo reply).
    NoFlow = 7,
    /// Its TTL ends here (RFC 1812 section 5.3.1).
    Ttl = 8,
    /// Larger than the link or route that it would take, and may not be fragmented.
    Mtu = 9,
    /// The driver or devmap refused the frame.
    RedirectError = 10,
    /// Translated, but the kernel has no route for it.
    NoRoute = 11,
    /// Its way leads to an interface that natgw was not told of, and the host did not forward there before natgw.
    Policy = 12,
    /// The client is over its quota.
    Quota = 13,
    /// A source that cannot be genuine on this side, or that no pool serves.
    SpoofedSource = 14,
    /// Belongs to a flow that is past its deadline.
    Expired = 15,
    /// Stopped by a tc guard on its way around the XDP program.
    Guard = 16,
    /// More VLAN tags than natgw looks through.
    Vlan = 17,
    /// A unicast packet in a link-layer broadcast or multicast frame (RFC 1812 section 5.3.4).
    GroupMac = 18,
    /// From outside, neither for this host nor for an EIP.
    Transit = 19,
    /// Another CPU was in the way of this birth; the next packet tries again.
    Contended = 20,
    /// Carries an IPv4 source route option (RFC 7126 sections 4.3 and 4.4).
    SourceRoute = 21,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 22] = [
        Self::UnsolicitedInbound,
        Self::PortExhausted,
        Self::TableFull,
        Self::UnsupportedProto,
        Self::BadHeader,
        Self::BadChecksum,
        Self::Fragment,
        Self::NoFlow,
        Self::Ttl,
        Self::Mtu,
        Self::RedirectError,
        Self::NoRoute,
        Self::Policy,
        Self::Quota,
        Self::SpoofedSource,
        Self::Expired,
        Self::Guard,
        Self::Vlan,
        Self::GroupMac,
        Self::Transit,
        Self::Contended,
        Self::SourceRoute,
    ];

    /// Name in JSON and metric labels.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnsolicitedInbound => "unsolicited_inbound",
            Self::PortExhausted => "port_exhausted",
            Self::TableFull => "table_full",
            Self::UnsupportedProto => "unsupported_proto",
            Self::BadHeader => "bad_header",
            Self::BadChecksum => "bad_checksum",
            Self::Fragment => "fragment",
            Self::NoFlow => "no_flow",
            Self::Ttl => "ttl",
            Self::Mtu => "mtu",
            Self::RedirectError => "redirect_error",
            Self::NoRoute => "no_route",
            Self::Policy => "policy",
            Self::Quota => "quota",
            Self::SpoofedSource => "spoofed_source",
            Self::Expired => "expired",
            Self::Guard => "guard",
            Self::Vlan => "vlan",
            Self::GroupMac => "group_mac",
            Self::Transit => "transit",
            Self::Contended => "contended",
            Self::SourceRoute => "source_route",
        }
    }

    /// One line for a person who wonders about the counter.
    pub const fn text(self) -> &'static str {
        match self {
            Self::UnsolicitedInbound => "from outside, to an EIP, and nobody inside asked for it",
            Self::PortExhausted => "no free port towards this destination; add an EIP to the pool",
            Self::TableFull => "the flow table is full; raise max_flows",
            Self::UnsupportedProto => "a protocol or ICMP type that natgw does not translate",
            Self::BadHeader => "malformed or truncated IPv4, TCP, UDP or ICMP header",
            Self::BadChecksum => "wrong checksum where it matters",
            Self::Fragment => "IPv4 fragment",
            Self::NoFlow => "from inside, belongs to no flow and may not start one",
            Self::Ttl => "TTL used up",
            Self::Mtu => "too big for the way out or in, DF set",
            Self::RedirectError => "the driver refused the frame",
            Self::NoRoute => "no route after translation",
            Self::Policy => "its way is not configured: exempt the destination, or name its interface",
            Self::Quota => "client over its quota",
            Self::SpoofedSource => "source cannot be genuine on this side, or no pool serves it",
            Self::Expired => "its flow is past its deadline",
            Self::Guard => "stopped by a tc guard: it tried to pass around the XDP program",
            Self::Vlan => "too many VLAN tags to look through",
            Self::GroupMac => "unicast packet in a link-layer broadcast or multicast frame",
            Self::Transit => "from outside, neither for this host nor for an EIP",
            Self::Contended => "another CPU was in the way; the next packet tries again",
            Self::SourceRoute => "carries an IPv4 source route option",
        }
    }
}

/// How a packet ends that is not translated. Steps of the slow path return `Result<(), Verdict>`, joined by `?`; that is one
/// register, so it crosses BPF functions.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Kind in the lowest byte, reason in the second, answer in the third.
    word: NonZeroU32,
}

const _: () = assert!(size_of::<Result<(), Verdict>>() == 4);

impl Verdict {
    const KIND: u32 = 0xff;
    const DROP: u32 = 2;
    const ANSWER: u32 = 3;

    /// To the kernel, untranslated.
    pub const PASS: Self = Self { word: NonZeroU32::MIN };

    /// Dropped and counted.
    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self::of(Self::DROP | (reason as u32) << 8)
    }

    /// Dropped and counted, and its sender is told by a packet that natgw builds.
    #[inline(always)]
    pub const fn answer(reason: Reason, answer: Answer) -> Self {
        Self::of(Self::ANSWER | (reason as u32) << 8 | (answer as u32) << 16)
    }

    /// For a word whose lowest byte is one of the kinds above.
    #[inline(always)]
    const fn of(word: u32) -> Self {
        match NonZeroU32::new(word) {
            Some(word) => Self { word },
            None => Self::PASS,
        }
    }

    /// As a number, for a function that the verifier checks by itself: 0 when the packet goes on.
    #[inline(always)]
    pub const fn number(result: Result<(), Self>) -> u32 {
        match result {
            Ok(()) => 0,
            Err(verdict) => verdict.word.get(),
        }
    }

    /// From [`Self::number`].
    #[inline(always)]
    pub const fn from_number(number: u32) -> Result<(), Self> {
        match NonZeroU32::new(number) {
            Some(word) => Err(Self { word }),
            None => Ok(()),
        }
    }

    /// Index of the reason into counters; of a verdict that drops.
    #[inline(always)]
    pub const fn reason(self) -> usize {
        (self.word.get() >> 8 & 0xff) as usize
    }

    /// Whether the packet ends here.
    #[inline(always)]
    pub const fn is_drop(self) -> bool {
        self.word.get() & Self::KIND >= Self::DROP
    }

    /// What its sender is told, if anything.
    #[inline(always)]
    pub const fn told(self) -> Option<Answer> {
        if self.word.get() & Self::KIND == Self::ANSWER {
            Answer::from_number(self.word.get() >> 16)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_keeps_its_reason_and_its_answer() {
        for reason in Reason::ALL {
            let dropped = Verdict::drop(reason);
            assert!(dropped.is_drop() && dropped.told().is_none());
            assert_eq!(dropped.reason(), reason as usize);
            for answer in Answer::ALL {
                let told = Verdict::answer(reason, answer);
                assert!(told.is_drop());
                assert_eq!((told.reason(), told.told()), (reason as usize, Some(answer)));
            }
        }
        assert!(!Verdict::PASS.is_drop() && Verdict::PASS.told().is_none());
        for result in [Ok(()), Err(Verdict::PASS), Err(Verdict::drop(Reason::Ttl))] {
            assert_eq!(Verdict::from_number(Verdict::number(result)), result);
        }
    }

    #[test]
    fn numbers_are_indices_and_names_are_unique() {
        let mut names = std::collections::HashSet::new();
        for (i, r) in Reason::ALL.iter().enumerate() {
            assert_eq!(*r as usize, i);
            assert!(names.insert(r.name()));
            assert!(!r.text().is_empty());
        }
    }

    /// Counters are pinned and dashboards are built on the names: append, never reorder.
    #[test]
    fn contract_order() {
        let names: Vec<_> = Reason::ALL.iter().take(16).map(|r| r.name()).collect();
        assert_eq!(
            names.join(" "),
            "unsolicited_inbound port_exhausted table_full unsupported_proto bad_header bad_checksum \
             fragment no_flow ttl mtu redirect_error no_route policy quota spoofed_source expired"
        );
    }
}
