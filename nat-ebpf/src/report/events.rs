//! Events: what the daemon is told at once.

use nat_common::{
    Tuple,
    event::{Event, EventKind},
};

use crate::{budget, maps};

/// Tells the daemon, unless it has been told often enough this second.
#[inline(never)]
pub fn tell(kind: EventKind, tuple: &Tuple) {
    if let Some(suppressed) = budget::take_event() {
        maps::send(&Event { kind: kind as u32, suppressed, tuple: *tuple });
    }
}
