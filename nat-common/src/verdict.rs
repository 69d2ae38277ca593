//! What becomes of a packet, and why: one list shared by the packet path, the counters and every text.

use core::num::NonZeroU32;

use crate::answer::Answer;
use crate::list::list;

list! {
    /// Reasons for a drop. Append-only: the number is an index into a pinned array of counters.
    Reason {
        0 UnsolicitedInbound "unsolicited_inbound" "from outside, to an EIP, and nobody inside asked for it"
        /// Ports are short per destination: the same port of an EIP serves flows to other destinations.
        1 PortExhausted "port_exhausted" "no free port towards this destination; add an EIP to the pool"
        2 TableFull "table_full" "the flow table is full; raise max_flows"
        3 UnsupportedProto "unsupported_proto" "a protocol or ICMP type that natgw does not translate"
        4 BadHeader "bad_header" "malformed or truncated IPv4, TCP, UDP or ICMP header"
        5 BadChecksum "bad_checksum" "wrong checksum where it matters"
        6 Fragment "fragment" "IPv4 fragment"
        /// TCP without SYN, or an echo reply.
        7 NoFlow "no_flow" "from inside, belongs to no flow and may not start one"
        /// RFC 1812 section 5.3.1.
        8 Ttl "ttl" "TTL used up"
        9 Mtu "mtu" "too big for the way out or in, DF set"
        10 RedirectError "redirect_error" "the driver refused the frame"
        11 NoRoute "no_route" "no route after translation"
        /// Its way leads to an interface that natgw was not told of, and the host did not forward there before natgw.
        12 Policy "policy" "its way is not configured: exempt the destination, or name its interface"
        13 Quota "quota" "client over its quota"
        14 SpoofedSource "spoofed_source" "source cannot be genuine on this side, or no pool serves it"
        15 Expired "expired" "its flow is past its deadline"
        16 Guard "guard" "stopped by a tc guard: it tried to pass around the XDP program"
        17 Vlan "vlan" "too many VLAN tags to look through"
        /// RFC 1812 section 5.3.4.
        18 GroupMac "group_mac" "unicast packet in a link-layer broadcast or multicast frame"
        19 Transit "transit" "from outside, neither for this host nor for an EIP"
        20 Contended "contended" "another CPU was in the way; the next packet tries again"
        /// RFC 7126 sections 4.3 and 4.4.
        21 SourceRoute "source_route" "carries an IPv4 source route option"
    }
    tests in reasons
}

list! {
    /// Why a frame was left to the kernel as it came. Append-only, as [`Reason`] is. `host_*`: to the host's own address that
    /// is an EIP too, so that flows and the host's sockets share it.
    PassReason {
        0 ToHost "to_host" "for this host itself"
        1 NotIpv4 "not_ipv4" "not IPv4: ARP, IPv6, LLDP"
        2 OtherVlan "other_vlan" "tagged for a VLAN: the interface of that VLAN decides"
        3 OtherStation "other_station" "frame for another station's MAC address (macvlan, VRRP)"
        4 Group "group" "to a multicast or broadcast address"
        5 Dhcp "dhcp" "a host that asks for an address, or a server that offers one to this host"
        6 Exempt "exempt" "to or from an exempt network: routed, not translated"
        7 Inside "inside" "from one inside network to another: routed, not translated"
        8 HostAddress "host_address" "from inside, to an EIP that is the host's own address"
        9 HostSocket "host_socket" "from outside, wanted by a socket of the host or a reserved port"
        10 HostFragment "host_fragment" "a later fragment, harmless without its first"
        11 HostError "host_error" "an ICMP error that is not about a flow"
        12 HostEcho "host_echo" "a ping of the host, or the answer to one of its own"
        13 HostProtocol "host_protocol" "a protocol without ports"
        14 HostNat "host_nat" "from outside, of a connection that the host itself tracks or translates"
    }
    tests in pass_reasons
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
    const PASSED: u32 = 1;
    const DROP: u32 = 2;
    const ANSWER: u32 = 3;

    /// To the kernel, untranslated, and counted.
    #[inline(always)]
    pub const fn pass(reason: PassReason) -> Self {
        Self::of(Self::PASSED | (reason as u32) << 8)
    }

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
            // No kind is 0.
            None => Self { word: NonZeroU32::MIN },
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

    /// Index of the reason into the counters of drops, or, of a verdict that passes, into those of passes.
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
        for reason in PassReason::ALL {
            let passed = Verdict::pass(reason);
            assert!(!passed.is_drop() && passed.told().is_none());
            assert_eq!(passed.reason(), reason as usize);
        }
        let passed = Verdict::pass(PassReason::Inside);
        for result in [Ok(()), Err(passed), Err(Verdict::drop(Reason::Ttl))] {
            assert_eq!(Verdict::from_number(Verdict::number(result)), result);
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
