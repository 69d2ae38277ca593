//! TCP state, derived from the flags that each direction has shown (RFC 7857 section 2, RFC 6146 section 3.5.2).
//!
//! Each direction ORs its own flags into its own entry; the state is a function of the two sets. What one direction's
//! segment changes in the other's set is rare: an RST, and what revokes it. UDP and ICMP use the same word: [`ANY`] says
//! that the direction has carried a packet.
//!
//! Sequence numbers are not tracked, so a FIN or RST may be forged by whoever can send to the flow's outside end. Hence:
//!
//! - One FIN costs nothing: the flow lives as long as an established one (it may be half closed, RFC 9293 section 3.6).
//! - A side that had sent FIN and sends payload without FIN has not finished. For the outside this holds only while the
//!   inside has not finished: after both FINs nothing from outside brings a flow back.
//! - An RST from either side is revoked by a later segment from inside that is none. The outside cannot revoke it, or
//!   forged segments would hold closed flows (RFC 7857 section 2.2 wants four minutes of patience, and no more).
//! - Nothing from outside refreshes a flow in a transitory phase, nor does an RST from inside. Entering such a phase from
//!   a lasting one starts the timer once, so that the patience is there however long the flow was idle.

use crate::entry::FlowEntry;
use crate::tuple::Proto;

/// This direction has sent FIN.
pub const FIN: u32 = 0x01;
/// This direction has sent SYN.
pub const SYN: u32 = 0x02;
/// This direction has sent RST.
pub const RST: u32 = 0x04;
/// In the outbound half: the other side has sent RST, which the next segment of this one revokes.
pub const DOUBT: u32 = 0x08;
/// In the inbound half: the flow is in a lasting phase ([`Phase::is_transitory`]), so that its packets refresh it. Here so
/// that they need not look at the other half, which is another cache line.
pub const LASTS: u32 = 0x20;
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

    /// Derives the state from what initiator and responder have shown (`seen` of their entries).
    #[inline(always)]
    pub const fn of(proto: u8, initiator_seen: u32, responder_seen: u32) -> Self {
        Phase::of(proto, initiator_seen, responder_seen).state()
    }
}

/// What a flow's idle timeout depends on: [`State`], and why it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// TCP: the handshake is not complete.
    New,
    /// TCP: handshake complete, nobody has closed.
    Established,
    /// TCP: one side has sent FIN.
    HalfClosed,
    /// TCP: both sides have sent FIN.
    Finished,
    /// TCP: one side has sent RST.
    Reset,
    /// UDP, ICMP: no answer yet.
    Unreplied,
    /// UDP, ICMP: answered.
    Replied,
}

impl Phase {
    /// Derives the phase from what initiator and responder have shown.
    ///
    /// FINs before the handshake is complete do not count: a half-open flow must not live as long as an established one.
    #[inline(always)]
    pub const fn of(proto: u8, initiator_seen: u32, responder_seen: u32) -> Self {
        if proto != Proto::Tcp as u8 {
            return if responder_seen & ANY != 0 { Self::Replied } else { Self::Unreplied };
        }
        if (initiator_seen | responder_seen) & RST != 0 {
            Self::Reset
        } else if !is_established(initiator_seen, responder_seen) {
            Self::New
        } else if initiator_seen & responder_seen & FIN != 0 {
            Self::Finished
        } else if (initiator_seen | responder_seen) & FIN != 0 {
            Self::HalfClosed
        } else {
            Self::Established
        }
    }

    /// The state that people see.
    #[inline(always)]
    pub const fn state(self) -> State {
        match self {
            Self::New => State::New,
            Self::Established => State::Established,
            Self::HalfClosed => State::Closing,
            Self::Finished | Self::Reset => State::Closed,
            Self::Unreplied => State::Unreplied,
            Self::Replied => State::Replied,
        }
    }

    /// Whether nothing from outside refreshes it: the "transitory" of RFC 5382, RFC 6146 and RFC 7857.
    #[inline(always)]
    pub const fn is_transitory(self) -> bool {
        matches!(self, Self::New | Self::Finished | Self::Reset)
    }
}

/// Both sides have sent SYN and the initiator has acknowledged. Holds for simultaneous open too.
#[inline(always)]
pub const fn is_established(initiator_seen: u32, responder_seen: u32) -> bool {
    initiator_seen & SYN != 0 && initiator_seen & ACK != 0 && responder_seen & SYN != 0
}

/// A SYN without ACK, FIN or RST: the only segment that may create a flow.
#[inline(always)]
pub const fn may_open(flags: u32) -> bool {
    flags & TRACKED == SYN
}

/// Whether a segment with `flags` needs more than a look at its own entry: it shows something new, opens,
/// closes, or comes from a side that had closed, or is said to be reset, and evidently goes on.
#[inline(always)]
pub const fn is_event(flags: u32, seen: u32) -> bool {
    (flags & !seen) | (flags & SYN) | (seen & (FIN | RST | DOUBT) & !flags) != 0
}

/// Whether a packet keeps its flow alive: of TCP no RST does, and nothing from outside in a transitory phase (RFC 7857
/// section 2.2), or forged segments would hold a port. `seen` is that of the packet's own half.
#[inline(always)]
pub const fn refreshes(proto: u8, flags: u32, seen: u32) -> bool {
    proto != Proto::Tcp as u8 || flags & RST == 0 && seen & (FlowEntry::OUTBOUND | LASTS) != 0
}

/// A segment, as far as the state is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// From inside.
    pub is_outbound: bool,
    /// Its [`TRACKED`] flags.
    pub flags: u32,
    /// It carries data.
    pub has_payload: bool,
}

/// What a segment changes: in its own half first, then in the other. That order makes two CPUs agree: one that sets the
/// inbound half's [`RST`] and then [`DOUBT`], and one that clears [`DOUBT`] and then the [`RST`], never leave an
/// [`RST`] of which the outbound half does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// A fresh connection: both halves begin without [`FLAGS`].
    pub starts_over: bool,
    /// Flags to clear in the segment's own half, before its flags are set.
    pub clears: u32,
    /// Flags to clear in the other half.
    pub clears_other: u32,
    /// Flags to set in the other half.
    pub sets_other: u32,
}

impl Segment {
    /// Whether an event ([`is_event`]) changes anything: else it need not look for the other half. `seen` is its own.
    #[inline(always)]
    pub const fn matters(self, seen: u32) -> bool {
        self.flags & !seen != 0
            || self.takes_back_fin(seen)
            || self.is_outbound
                && (may_open(self.flags) || self.takes_back_rst() && seen & (RST | DOUBT) != 0)
    }

    #[inline(always)]
    const fn takes_back_fin(self, seen: u32) -> bool {
        seen & FIN != 0 && self.flags & FIN == 0 && self.has_payload
    }

    #[inline(always)]
    const fn takes_back_rst(self) -> bool {
        self.is_outbound && self.flags & RST == 0
    }

    /// What it changes, given what the two halves have shown.
    #[inline(always)]
    pub const fn change(self, own: u32, other: u32) -> Change {
        let (out, back) = if self.is_outbound { (own, other) } else { (other, own) };
        // A fresh connection on the tuple of one that ended (RFC 7857 section 2.2 would keep it closing, and the
        // new connection would then be forgotten after four idle minutes).
        let state = State::of(Proto::Tcp as u8, out, back);
        if self.is_outbound && may_open(self.flags) && matches!(state, State::Closing | State::Closed) {
            return Change { starts_over: true, clears: FLAGS, clears_other: FLAGS, sets_other: 0 };
        }
        let may_take_back_fin = self.is_outbound || other & FIN == 0;
        let fin = if may_take_back_fin && self.takes_back_fin(own) { FIN } else { 0 };
        let (rst, other_rst) = if self.takes_back_rst() { (RST | DOUBT, RST) } else { (0, 0) };
        let doubt = if !self.is_outbound && self.flags & RST != 0 { DOUBT } else { 0 };
        Change { starts_over: false, clears: fin | rst, clears_other: other_rst, sets_other: doubt }
    }
}

/// Every flag that packets set: what a fresh connection on the same tuple starts without.
pub const FLAGS: u32 = TRACKED | ANY | DOUBT | LASTS;
const _: () = assert!(
    FLAGS & (FlowEntry::OUTBOUND | FlowEntry::INITIATOR | FlowEntry::SAME_SIDE) == 0 && FLAGS < 1 << 9
);

#[cfg(test)]
mod tests;
