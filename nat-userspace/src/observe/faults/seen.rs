//! What faults are found in.

use std::time::Duration;

use nat_common::stats::Stats;

use crate::host::condition::Condition;
use crate::host::state::ContestedSysctl;
use crate::observe::eips::MissingEip;
use crate::observe::stats::Losses;

/// What the maps showed. Counters only grow, for as long as the maps exist: a fault is what grows now.
pub(in crate::observe) struct Seen<'a> {
    /// From the first reading of the counters to the last.
    pub(in crate::observe) sample: Duration,
    /// Counters at the start of the sample.
    pub(in crate::observe) first: &'a Stats,
    /// Counters at its end.
    pub(in crate::observe) last: &'a Stats,
    /// What the flow table showed.
    pub(in crate::observe) flows: FlowsSeen,
    /// Interfaces that have lost a guard.
    pub(in crate::observe) unguarded: &'a [String],
    /// EIPs that the host does not have.
    pub(in crate::observe) missing_eips: &'a [MissingEip],
    /// Sysctls that somebody else sets back.
    pub(in crate::observe) contested: &'a [ContestedSysctl],
    /// What is wrong with the tables, in words.
    pub(in crate::observe) damage: Option<String>,
    /// Whether losses after a redirect are counted.
    pub(in crate::observe) counts_losses: bool,
    /// Interfaces that have lost packets at some time, and how many.
    pub(in crate::observe) losses: &'a Losses,
    /// The host; `None` from another network namespace.
    pub(in crate::observe) host: Option<&'a Condition>,
}

/// The first flows of the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowsSeen {
    /// Looked at.
    pub(in crate::observe) looked_at: u64,
    /// Without a resolved next hop.
    pub(in crate::observe) unresolved: u64,
    /// That sent something a moment ago that has to be answered.
    pub(in crate::observe) asking: u64,
    /// Of those: answered.
    pub(in crate::observe) answered: u64,
}
