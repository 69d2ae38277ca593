//! A guess at the reverse entry of the flow that a packet may start, made before anything else is asked.
//!
//! A birth waits for the memory of two slots, and only so does it wait for both at once, because a CPU looks no more than a
//! few hundred instructions beyond what it is waiting for. A wrong guess costs time, nothing else.

use nat_common::{PoolRef, Port, Side, Tuple, ports::Walk};

use crate::{maps, table, work::Work};

/// Guesses the reverse entry and fetches its home slot. The guess is that the client's pool is that of the last search on
/// this CPU.
#[inline(never)]
pub fn prefetch(work: &mut Work) {
    let Some(settings) = maps::settings() else { return };
    let key = &work.packet.tuple;
    let search = &mut work.search;
    let PoolRef { first, count, tables, .. } = search.pool;
    let own = if count > 1 {
        maps::choice(tables.first(), settings.choice.choose(key.src, tables.buckets()))
    } else {
        0
    };
    // While the daemon replaces a configuration, the table may be another pool's.
    let own = if own < u32::from(count) { own } else { 0 };
    let Some(eip) = maps::member(first + own) else { return };
    let mut reverse = Tuple {
        src: key.dst,
        dst: eip.addr,
        sport: key.dport,
        dport: Port::default(),
        proto: key.proto,
        side: Side::opposite(key.side),
        state: 0,
    };
    // Of a random start nobody can foretell the ports that follow (RFC 6056 section 3.3.1).
    let walk = Walk::keyed(work.random.bits(), eip.ports.prime.max(1));
    if let Some(port) = eip.ports.port(walk.position) {
        reverse.dport = port;
        table::fetch(&reverse);
    }
    search.reverse = reverse;
    search.walk = walk;
    search.begin_with(own, eip);
}

/// Guesses again when the pool turns out to be another.
#[inline(always)]
pub fn correct(work: &mut Work, pool: &PoolRef) {
    if work.search.pool != *pool {
        work.search.pool = *pool;
        prefetch(work);
    }
}
