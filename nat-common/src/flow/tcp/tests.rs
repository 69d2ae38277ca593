//! The TCP machine by itself: its edges one by one, and rules that hold after every sequence of segments.

use super::*;

const TCP: u8 = Proto::Tcp as u8;

/// The two halves of a flow, as the packet path changes them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Halves {
    out: u32,
    back: u32,
}

impl Halves {
    const BORN: Self = Self { out: SYN | FlowEntry::OUTBOUND, back: 0 };
    const ESTABLISHED: Self = Self { out: SYN | ACK | FlowEntry::OUTBOUND, back: SYN | ACK | LASTS };

    fn phase(self) -> Phase {
        Phase::of(TCP, self.out, self.back)
    }

    /// As `pipeline.rs` and `flow/state.rs` in nat-ebpf do it.
    fn after(mut self, segment: Segment) -> Self {
        let own = if segment.is_outbound { self.out } else { self.back };
        if !is_event(segment.flags, own) || !segment.matters(own) {
            return self;
        }
        let (own, other) = if segment.is_outbound {
            (&mut self.out, &mut self.back)
        } else {
            (&mut self.back, &mut self.out)
        };
        let change = segment.change(*own, *other);
        *own = *own & !change.clears | segment.flags;
        *other = *other & !change.clears_other | change.sets_other;
        self.back = if self.phase().is_transitory() { self.back & !LASTS } else { self.back | LASTS };
        self
    }

    fn then(self, segments: &[Segment]) -> Self {
        segments.iter().fold(self, |halves, segment| halves.after(*segment))
    }
}

const fn out(flags: u32) -> Segment {
    Segment { is_outbound: true, flags, has_payload: false }
}

const fn back(flags: u32) -> Segment {
    Segment { is_outbound: false, flags, has_payload: false }
}

const fn with_data(segment: Segment) -> Segment {
    Segment { has_payload: true, ..segment }
}

/// Every segment that there is.
fn segments() -> impl Iterator<Item = Segment> {
    (0..=TRACKED)
        .filter(|flags| flags & !TRACKED == 0)
        .flat_map(|flags| [out(flags), back(flags), with_data(out(flags)), with_data(back(flags))])
}

/// Every pair of halves that any segments can lead to.
fn reachable() -> std::collections::HashSet<Halves> {
    let mut all = std::collections::HashSet::from([Halves::BORN]);
    let mut new = vec![Halves::BORN];
    while let Some(halves) = new.pop() {
        new.extend(segments().map(|s| halves.after(s)).filter(|next| all.insert(*next)));
    }
    all
}

#[test]
fn handshake_and_close() {
    let steps = [
        (SYN, 0, State::New),
        (SYN, SYN | ACK, State::New),
        (SYN | ACK, SYN | ACK, State::Established),
        (SYN | ACK | FIN, SYN | ACK, State::Closing),
        (SYN | ACK, SYN | ACK | FIN, State::Closing),
        (SYN | ACK | FIN, SYN | ACK | FIN, State::Closed),
        (SYN | ACK, SYN | ACK | RST, State::Closed),
        (SYN | ACK | RST, SYN | ACK, State::Closed),
        (SYN, RST | ACK, State::Closed),
        (SYN, FIN, State::New),
        (SYN | FIN, SYN | ACK | FIN, State::New),
    ];
    for (out, back, want) in steps {
        assert_eq!(State::of(TCP, out | FlowEntry::OUTBOUND, back), want, "{out:#x} {back:#x}");
    }
}

#[test]
fn simultaneous_open() {
    assert_eq!(State::of(TCP, SYN, SYN), State::New);
    assert_eq!(State::of(TCP, SYN | ACK, SYN), State::Established);
    let halves = Halves::BORN.then(&[back(SYN), out(SYN | ACK), back(SYN | ACK)]);
    assert_eq!(halves.phase(), Phase::Established);
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
    assert!(is_event(ACK, seen | FIN), "after a FIN, payload decides");
    assert!(is_event(SYN, seen), "every SYN is looked at");
    assert!(is_event(ACK, seen | RST), "life after a reset");
    assert!(is_event(ACK, seen | DOUBT), "life after the other side's reset");
    assert!(!is_event(ACK | RST, seen | RST), "another reset");
    assert!(!is_event(ANY, ANY | FlowEntry::OUTBOUND), "datagrams");
}

/// The packet path calls what is no event nothing, and an event that does not matter nothing either.
#[test]
fn what_is_not_looked_at_changes_nothing() {
    for halves in reachable() {
        for segment in segments() {
            let (own, other) =
                if segment.is_outbound { (halves.out, halves.back) } else { (halves.back, halves.out) };
            let change = segment.change(own, other);
            let own_after = own & !change.clears | segment.flags;
            let other_after = other & !change.clears_other | change.sets_other;
            if !(is_event(segment.flags, own) && segment.matters(own)) {
                assert_eq!((own_after, other_after), (own, other), "{halves:x?} {segment:x?}");
            }
        }
    }
}

#[test]
fn one_fin_is_as_good_as_established_and_two_are_the_end() {
    for (one, two) in [(out(FIN | ACK), back(FIN | ACK)), (back(FIN | ACK), out(FIN | ACK))] {
        let half = Halves::ESTABLISHED.after(one);
        assert_eq!(half.phase(), Phase::HalfClosed);
        assert!(!half.phase().is_transitory());
        assert_eq!(
            half.then(&[out(ACK), back(ACK)]).phase(),
            Phase::HalfClosed,
            "a pure ACK after a FIN is normal"
        );
        let other = Segment { flags: ACK, has_payload: true, ..two };
        assert_eq!(half.after(other).phase(), Phase::HalfClosed, "the other side sends on");
        assert_eq!(half.after(two).phase(), Phase::Finished);
    }
}

#[test]
fn a_side_that_sends_on_had_not_finished() {
    let closing = Halves::ESTABLISHED.after(back(FIN | ACK));
    assert_eq!(closing.after(with_data(back(ACK))), Halves::ESTABLISHED);
    let closing = Halves::ESTABLISHED.after(out(FIN | ACK));
    assert_eq!(closing.after(with_data(out(ACK))), Halves::ESTABLISHED);
    assert_eq!(closing.after(with_data(out(FIN | ACK))), closing, "a retransmission with its FIN");
    let finished = closing.after(back(FIN | ACK));
    assert_eq!(finished.after(with_data(back(ACK))), finished, "not from outside, after both");
    assert_eq!(finished.after(with_data(out(ACK))).phase(), Phase::HalfClosed);
}

#[test]
fn only_the_inside_revokes_a_reset() {
    for reset in [back(RST), back(RST | ACK), out(RST), out(RST | ACK)] {
        let closed = Halves::ESTABLISHED.after(reset);
        assert_eq!(closed.phase(), Phase::Reset);
        for stray in [back(ACK), with_data(back(ACK)), back(SYN | ACK), back(RST), out(RST), out(RST | ACK)] {
            assert_eq!(closed.after(stray).phase(), Phase::Reset, "{reset:?} {stray:?}");
        }
        assert_eq!(closed.after(out(ACK)), Halves::ESTABLISHED, "{reset:?}");
        let both = closed.then(&[back(RST), out(RST), out(ACK)]);
        assert_eq!(both.phase(), Phase::Established, "{reset:?}");
    }
    let refused = Halves::BORN.after(back(RST | ACK));
    assert_eq!(refused.phase(), Phase::Reset);
    assert_eq!(refused.after(out(SYN)).phase(), Phase::New, "another try");
}

/// Whatever has happened: the outbound half knows of every RST of the other, the next segment from inside takes resets
/// back, and nothing from outside leads from a transitory phase into a lasting one.
#[test]
fn the_outside_brings_nothing_back() {
    let all = reachable();
    assert!(all.len() > 50, "{}", all.len());
    for halves in all {
        assert!(halves.back & RST == 0 || halves.out & DOUBT != 0, "{halves:x?}");
        assert_ne!(halves.out & FlowEntry::OUTBOUND, 0);
        for segment in segments() {
            let after = halves.after(segment);
            let is_refreshed =
                refreshes(TCP, segment.flags, if segment.is_outbound { after.out } else { after.back });
            let is_alive = segment.is_outbound || !after.phase().is_transitory();
            assert_eq!(is_refreshed, is_alive && segment.flags & RST == 0, "{halves:x?} {segment:x?}");
            if segment.is_outbound && segment.flags & RST == 0 {
                assert_ne!(after.phase(), Phase::Reset, "{halves:x?} {segment:x?}");
            }
            if !segment.is_outbound && halves.phase().is_transitory() && halves.phase() != Phase::New {
                assert!(after.phase().is_transitory(), "{halves:x?} {segment:x?}");
            }
        }
    }
}

#[test]
fn a_fresh_connection_on_the_tuple_of_an_old_one() {
    for end in [out(FIN | ACK), back(FIN | ACK), out(RST), back(RST)] {
        let new = Halves::ESTABLISHED.then(&[end, out(SYN)]);
        assert_eq!(new, Halves::BORN, "{end:?}");
    }
    assert_eq!(Halves::ESTABLISHED.after(out(SYN)), Halves::ESTABLISHED, "a stray SYN");
}
