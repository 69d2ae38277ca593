//! What one CPU may spend per second on things that a hostile host could ask for without end.

use bytemuck::{Pod, Zeroable};
use nat_common::{
    Reason, Stamp, Ticks, Verdict,
    bucket::Bucket,
    event::{Event, EventKind},
    hop::TAKEOVERS_PER_SECOND,
};

use crate::{kernel::clock, maps, wire::packet::Packet};

/// A second: 15 ticks are one and 7 ms.
const SECOND: Ticks = Ticks::from_ms(1000);

/// The one element of `BUDGET`, per CPU. Spending starts over every second.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Budget {
    since: Stamp,
    probes: u32,
    events: u32,
    suppressed: u32,
    answers: Bucket,
    takeovers: Bucket,
    samplings: Bucket,
}

impl Budget {
    #[inline(always)]
    fn roll(&mut self, now: Stamp) {
        if self.since.age(now) >= SECOND {
            self.since = now;
            self.probes = 0;
            self.events = 0;
        }
    }
}

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

/// Refuses a flow because the table is full.
#[inline(never)]
pub fn refuse_table_full(packet: &Packet) -> Verdict {
    tell(EventKind::TableFull, packet);
    Verdict::drop(Reason::TableFull)
}

/// Tells userspace, unless it has been told often enough this second.
#[inline(never)]
pub fn tell(kind: EventKind, packet: &Packet) {
    let (Some(budget), Some(settings)) = (maps::budget(), maps::settings()) else { return };
    budget.roll(clock::now());
    if budget.events >= settings.event_budget {
        budget.suppressed += 1;
        return;
    }
    budget.events += 1;
    let event = Event { kind: kind as u32, suppressed: budget.suppressed, tuple: packet.tuple };
    budget.suppressed = 0;
    maps::send(&event);
}
