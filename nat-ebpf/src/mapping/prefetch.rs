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
    let own = if search.pool.count > 1 { settings.choice.choose(key.src, search.pool.count) } else { 0 };
    let Some(eip) = maps::member(search.pool.first + own) else { return };
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
    search.own = own;
    search.walk = walk;
    search.turn_to(eip);
}

/// Guesses again when the pool turns out to be another.
#[inline(always)]
pub fn correct(work: &mut Work, pool: &PoolRef) {
    if work.search.pool != *pool {
        work.search.pool = *pool;
        prefetch(work);
    }
}
