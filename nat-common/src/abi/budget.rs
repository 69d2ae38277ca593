//! The one element of `BUDGET`, per CPU: what was spent this second on things that a hostile host could ask for without end.

use bytemuck::{Pod, Zeroable};

use crate::bucket::Bucket;
use crate::stamp::{Stamp, Ticks};

/// A second: 15 ticks are one and 7 ms.
const SECOND: Ticks = Ticks::from_ms(1000);

/// What one CPU has spent. Probes and events start over every second; the others are token buckets.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub struct Budget {
    /// Beginning of the current second.
    pub since: Stamp,
    /// Port probes.
    pub probes: u32,
    /// Events sent to userspace.
    pub events: u32,
    /// Events not sent since the last one that was.
    pub suppressed: u32,
    /// ICMP errors of natgw's own.
    pub answers: Bucket,
    /// Slots of next hops given away.
    pub takeovers: Bucket,
    /// Routes of several ways looked at closely.
    pub samplings: Bucket,
}

impl Budget {
    /// Starts over when a second has passed.
    #[inline(always)]
    pub fn roll(&mut self, now: Stamp) {
        if self.since.age(now) >= SECOND {
            self.since = now;
            self.probes = 0;
            self.events = 0;
        }
    }
}

crate::map_value!(Budget);
