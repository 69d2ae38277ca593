//! What natgw says it has done: a number for something that did not happen is worse than none.

use std::fmt;

use anyhow::{Result, ensure};
use nat_common::Reason;
use nat_common::stats::{Meter, Stats};
use nat_tests::fixture::World;

/// What became of the packets of a series.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Translated, from inside.
    pub sent_out: u64,
    /// Translated, from outside.
    pub sent_in: u64,
    /// Flows born.
    pub births: u64,
    /// Left to the kernel, untranslated.
    pub passed: u64,
    /// Left to the kernel, translated.
    pub handovers: u64,
    /// Dropped.
    pub dropped: Vec<(Reason, u64)>,
}

/// The one thing that happened to every packet of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// natgw never saw it.
    Unseen,
    /// Translated and sent out.
    SentOut,
    /// Translated and sent in.
    SentIn,
    /// Started a flow, and was sent out.
    Born,
    /// Left to the kernel, untranslated.
    Passed,
    /// Dropped.
    Dropped(Reason),
}

impl Tally {
    /// What has happened since `before`; probes of port claims are not part of it.
    pub fn since(before: &Stats, world: &World) -> Result<Self> {
        let after = world.stats()?;
        let meter = |m: Meter| after.packets[m as usize] - before.packets[m as usize];
        let dropped = |r: &Reason| (*r, after.drops[*r as usize] - before.drops[*r as usize]);
        Ok(Self {
            sent_out: meter(Meter::DestinationOut),
            sent_in: meter(Meter::SourceOut),
            births: after.births.iter().sum::<u64>() - before.births.iter().sum::<u64>(),
            passed: after.passed() - before.passed(),
            handovers: after.handovers - before.handovers,
            dropped: Reason::ALL.iter().map(dropped).filter(|(_, n)| *n > 0).collect(),
        })
    }

    /// What happened to each of `packets`, if it was the same for all.
    pub fn fate(&self, packets: u64) -> Result<Fate> {
        let nothing = Self::default();
        let all = [
            (Fate::Unseen, nothing.clone()),
            (Fate::SentOut, Self { sent_out: packets, ..nothing.clone() }),
            (Fate::SentIn, Self { sent_in: packets, ..nothing.clone() }),
            (Fate::Born, Self { sent_out: packets, births: packets, ..nothing.clone() }),
            (Fate::Passed, Self { passed: packets, ..nothing.clone() }),
        ];
        if let Some((fate, _)) = all.into_iter().find(|(_, tally)| tally == self) {
            return Ok(fate);
        }
        match self.dropped.as_slice() {
            [(reason, _)] if *self == (Self { dropped: vec![(*reason, packets)], ..nothing }) => {
                Ok(Fate::Dropped(*reason))
            }
            _ => anyhow::bail!("{packets} packets did not fare alike: {self}"),
        }
    }

    /// Fails unless the two agree.
    pub fn expect(&self, expected: &Self) -> Result<()> {
        ensure!(self == expected, "natgw counted {self}; expected {expected}");
        Ok(())
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent_out, sent_in, births, passed, handovers, dropped } = self;
        write!(
            f,
            "{sent_out} sent out, {sent_in} sent in, {births} flows born, {passed} passed untranslated, "
        )?;
        write!(f, "{handovers} handed to the kernel")?;
        dropped.iter().try_for_each(|(reason, n)| write!(f, ", {n} dropped ({})", reason.name()))
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unseen => f.write_str("not seen"),
            Self::SentOut => f.write_str("translated, out"),
            Self::SentIn => f.write_str("translated, in"),
            Self::Born => f.write_str("born"),
            Self::Passed => f.write_str("to the kernel"),
            Self::Dropped(reason) => write!(f, "dropped: {}", reason.name()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_fate_or_an_error_that_says_which() {
        let nothing = Tally::default();
        assert_eq!(nothing.fate(5).unwrap(), Fate::Unseen);
        let born = Tally { sent_out: 5, births: 5, ..nothing.clone() };
        assert_eq!(born.fate(5).unwrap(), Fate::Born);
        let refused = Tally { dropped: vec![(Reason::Fragment, 5)], ..nothing.clone() };
        assert_eq!(refused.fate(5).unwrap(), Fate::Dropped(Reason::Fragment));
        let mixed = Tally { sent_out: 4, ..refused };
        let words = mixed.fate(5).unwrap_err().to_string();
        assert!(words.contains("4 sent out") && words.contains("5 dropped (fragment)"), "{words}");
        assert!(Tally { sent_in: 4, ..nothing }.fate(5).is_err(), "one is missing");
    }
}
