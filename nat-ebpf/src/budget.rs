//! What one CPU may spend per second on things that a hostile host could ask for without end.

use nat_common::{Stamp, hop::TAKEOVERS_PER_SECOND};

use crate::{kernel::clock, maps};

/// Up to `wanted` port probes; 0 when this CPU has used up its second.
#[inline(always)]
pub fn take_probes(wanted: u32, now: Stamp) -> u32 {
    let (Some(budget), Some(settings)) = (maps::budget(), maps::settings()) else { return 0 };
    budget.roll(now);
    let left = settings.probe_budget.saturating_sub(budget.probes);
    let granted = if left < wanted { left } else { wanted };
    budget.probes += granted;
    granted
}

/// Takes the right to tell userspace of one more event; `None` when this CPU has used up its second. The number is that of events
/// that were held back since the last one was told.
#[inline(always)]
pub fn take_event() -> Option<u32> {
    let (budget, settings) = (maps::budget()?, maps::settings()?);
    budget.roll(clock::now());
    if budget.events >= settings.event_budget {
        budget.suppressed += 1;
        return None;
    }
    budget.events += 1;
    let suppressed = budget.suppressed;
    budget.suppressed = 0;
    Some(suppressed)
}

/// Whether natgw may send an answer of its own now.
#[inline(always)]
pub fn take_answer() -> bool {
    let (Some(budget), Some(settings)) = (maps::budget(), maps::settings()) else { return false };
    budget.answers.take(clock::nanoseconds(), settings.answers_per_second, settings.answers_per_second)
}

/// Whether a slot of the next hops that is in use may be given away now.
#[inline(always)]
pub fn take_takeover() -> bool {
    maps::budget()
        .is_some_and(|b| b.takeovers.take(clock::nanoseconds(), TAKEOVERS_PER_SECOND, TAKEOVERS_PER_SECOND))
}

/// Routes of several ways that one CPU may look at closely, per second: at 3 us each, 3 % of its time. Beyond that, a source
/// whose best way is another interface counts as not genuine.
const SAMPLINGS_PER_SECOND: u32 = 10_000;

/// Whether a route of several ways may be looked at closely now.
#[inline(always)]
pub fn take_sampling() -> bool {
    maps::budget()
        .is_some_and(|b| b.samplings.take(clock::nanoseconds(), SAMPLINGS_PER_SECOND, SAMPLINGS_PER_SECOND))
}
