//! Destinations towards which ports are short.

use nat_common::{
    Stamp, Ticks, Tuple,
    eip::MAX_EIPS,
    scarce::{Destination, Scarcity},
};

use crate::{
    kernel::memory::{Shared, part},
    maps,
    work::port::{Random, Search},
};

/// Bits of a pool's number.
const POOL_BITS: u32 = 16;
const _: () = assert!(MAX_EIPS <= 1 << POOL_BITS);

/// How long a destination counts as short of ports after a walk found none.
const SCARCE: Ticks = Ticks::from_ms(1000);

/// The destination of a packet with this tuple. The EIPs of a pool on each link run short by themselves.
#[inline(always)]
pub fn destination(tuple: &Tuple, search: &Search) -> Destination {
    let Tuple { dst, dport, proto, .. } = *tuple;
    let pool = u32::from(search.pool.pool) | (search.first - search.pool.first) << POOL_BITS;
    Destination { dst, dport, proto, spare: 0, pool }
}

/// Whether ports towards the destination were short a moment ago.
#[inline(always)]
pub fn is_short(destination: &Destination, now: Stamp) -> bool {
    // One stamp for all destinations, which is looked at first: in most seconds no search fails, and the lookup by destination is
    // saved.
    if maps::occupancy().is_none_or(|o| part!(o, scarce).get().age(now) >= SCARCE) {
        return false;
    }
    maps::scarcity(destination).is_some_and(|known| {
        part!(known, is_failing).get() != 0 && part!(known, failed).get().age(now) < SCARCE
    })
}

/// What is known of a destination; where nothing is, a walk is begun for it, of the pool's member `own`.
#[inline(always)]
pub fn of(destination: &Destination, own: u32, random: &mut Random) -> Option<Shared<Scarcity>> {
    if let Some(known) = maps::scarcity(destination) {
        return Some(known);
    }
    let mut start =
        Scarcity { failed: Stamp::default(), member: own, position: 0, steps: 0, is_failing: 0, nonce: 0 };
    redraw(&mut start, random);
    maps::remember_scarcity(destination, &start);
    maps::scarcity(destination)
}

/// Begins another walk, of the same member.
#[inline(always)]
pub fn redraw(walk: &mut Scarcity, random: &mut Random) {
    walk.nonce = random.bits();
    random.next();
    walk.steps = 0;
}

/// Notes that a walk found nothing.
#[inline(always)]
pub fn fail(walk: &mut Scarcity, now: Stamp) {
    walk.failed = now;
    if let Some(occupancy) = maps::occupancy() {
        part!(occupancy, scarce).set(now);
    }
}
