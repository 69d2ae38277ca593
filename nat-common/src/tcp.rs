//! TCP state, derived from the flags that each direction has shown (RFC 7857 section 2, RFC 6146 section 3.5.2).
//!
//! Each direction ORs its own flags into its own entry; the state is a function of the two sets, so no
//! packet ever writes the other direction's cache line. UDP and ICMP use the same word: [`ANY`] says that
//! the direction has carried a packet.

use crate::entry::FlowEntry;
use crate::tuple::Proto;

/// This direction has sent FIN.
pub const FIN: u32 = 0x01;
/// This direction has sent SYN.
pub const SYN: u32 = 0x02;
/// This direction has sent RST.
pub const RST: u32 = 0x04;
/// This direction has sent ACK.
pub const ACK: u32 = 0x10;
/// This direction has carried a packet (protocols without flags).
pub const ANY: u32 = 0x100;

/// The header bits that natgw tracks; values as in the 14th octet of the TCP header.
pub const TRACKED: u32 = FIN | SYN | RST | ACK;

/// What the two directions of a flow amount to. Order and names are part of the JSON interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// TCP: the handshake is not complete.
    New,
    /// TCP: handshake complete, nobody has closed.
    Established,
    /// TCP: one side has sent FIN.
    Closing,
    /// TCP: both sides have sent FIN, or one has sent RST.
    Closed,
    /// UDP, ICMP: no answer yet.
    Unreplied,
    /// UDP, ICMP: answered.
    Replied,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 6] =
        [Self::New, Self::Established, Self::Closing, Self::Closed, Self::Unreplied, Self::Replied];

    /// Lower-case name, as in JSON and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Established => "established",
            Self::Closing => "closing",
            Self::Closed => "closed",
            Self::Unreplied => "unreplied",
            Self::Replied => "replied",
        }
    }

    /// Derives the state from what the two directions have shown (`seen` of the two entries).
    #[inline(always)]
    pub const fn of(proto: u8, outbound_seen: u32, inbound_seen: u32) -> Self {
        if proto != Proto::Tcp as u8 {
            return if inbound_seen & ANY != 0 { Self::Replied } else { Self::Unreplied };
        }
        let either = outbound_seen | inbound_seen;
        let both = outbound_seen & inbound_seen;
        if either & RST != 0 || both & FIN != 0 {
            Self::Closed
        } else if either & FIN != 0 {
            Self::Closing
        } else if is_established(outbound_seen, inbound_seen) {
            Self::Established
        } else {
            Self::New
        }
    }
}

/// Both sides have sent SYN and the initiator has acknowledged. Holds for simultaneous open too.
#[inline(always)]
pub const fn is_established(outbound_seen: u32, inbound_seen: u32) -> bool {
    outbound_seen & SYN != 0 && outbound_seen & ACK != 0 && inbound_seen & SYN != 0
}

/// A SYN without ACK, FIN or RST: the only segment that may create a flow.
#[inline(always)]
pub const fn may_open(flags: u32) -> bool {
    flags & TRACKED == SYN
}

/// Whether a segment with `flags` needs more than a look at its own entry: it shows something new, opens,
/// closes, or comes from a side that had sent RST and evidently did not mean it (RFC 7857 section 2.2).
#[inline(always)]
pub const fn is_event(flags: u32, seen: u32) -> bool {
    (flags & !seen) | (flags & SYN) | (seen & RST & !flags) != 0
}

/// Every flag that packets set: what a fresh connection on the same tuple starts without.
pub const FLAGS: u32 = TRACKED | ANY;
const _: () = assert!(FLAGS & FlowEntry::OUTBOUND == 0 && FLAGS < 1 << 16);

#[cfg(test)]
mod tests {
    use super::*;
    const TCP: u8 = 6;

    #[test]
    fn handshake_and_close() {
        let steps = [
            (SYN, 0, State::New),
            (SYN, SYN | ACK, State::New),
            (SYN | ACK, SYN | ACK, State::Established),
            (SYN | ACK | FIN, SYN | ACK, State::Closing),
            (SYN | ACK | FIN, SYN | ACK | FIN, State::Closed),
            (SYN | ACK, SYN | ACK | RST, State::Closed),
            (SYN, RST | ACK, State::Closed),
        ];
        for (out, back, want) in steps {
            assert_eq!(State::of(TCP, out | FlowEntry::OUTBOUND, back), want, "{out:#x} {back:#x}");
        }
    }

    #[test]
    fn simultaneous_open() {
        assert_eq!(State::of(TCP, SYN, SYN), State::New);
        assert_eq!(State::of(TCP, SYN | ACK, SYN), State::Established);
    }

    #[test]
    fn datagrams() {
        assert_eq!(State::of(17, ANY | FlowEntry::OUTBOUND, 0), State::Unreplied);
        assert_eq!(State::of(17, ANY | FlowEntry::OUTBOUND, ANY), State::Replied);
        assert_eq!(State::of(1, ANY, ANY), State::Replied);
    }

    #[test]
    fn only_a_pure_syn_opens() {
        let psh_urg_ece = 0x08 | 0x20 | 0x40;
        assert!(may_open(SYN));
        assert!(may_open(SYN | psh_urg_ece), "ECN setup SYN");
        for f in [0, ACK, SYN | ACK, SYN | FIN, SYN | RST, FIN, RST] {
            assert!(!may_open(f), "{f:#x}");
        }
    }

    #[test]
    fn events() {
        let seen = SYN | ACK | FlowEntry::OUTBOUND;
        assert!(!is_event(ACK, seen), "plain data");
        assert!(is_event(ACK | FIN, seen));
        assert!(!is_event(ACK | FIN, seen | FIN), "a retransmitted FIN");
        assert!(is_event(SYN, seen), "every SYN is looked at");
        assert!(is_event(ACK, seen | RST), "life after a reset");
        assert!(!is_event(ACK | RST, seen | RST), "another reset");
    }
}
