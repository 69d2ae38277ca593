//! Several links to the outside: an EIP leaves by the link that it belongs to, and by no other.
//!
//! The route decides, asked with the client's own EIP as source. When it leads out of another link, the flow gets an EIP that
//! belongs to that one: so clients move when a link dies, whether routes name a source or not.

use nat_common::{Addr, Tuple, eip::MAX_LINKS, ports::Walk};

use crate::{
    frame::{Frame, checked_alone},
    hop::resolve::{self, Reach},
    maps,
    work::Work,
};

/// Links that are asked for a way when the own one has none.
const TRIES: u32 = 3;

/// Where the packet at hand goes once its source is `eip`, its client's own EIP, or another one of the pool, which `work.search`
/// names then. `work.route` is filled.
#[inline(always)]
pub fn reach<F: Frame>(frame: F, work: &mut Work, eip: Addr) -> Reach {
    let reach = resolve::resolve(frame, work, translated(work, eip));
    if work.search.outside == 0 || is_on_link(work, reach) {
        reach
    } else if reach.is_no_way() {
        let other = by_others(frame, work);
        if other.is_way() { other } else { reach }
    } else {
        another(frame, work)
    }
}

/// Whether the packet may have the EIP of `work.search` where the lookup leads, because it leaves by the link of that EIP, or is
/// not translated at all.
#[inline(always)]
fn is_on_link(work: &Work, reach: Reach) -> bool {
    match reach {
        Reach::Outside | Reach::Either => work.route.link == work.search.outside,
        Reach::EitherInside | Reach::Unmanaged => {
            work.route.link == work.search.outside || maps::pool(work.packet.tuple.dst).is_some()
        }
        // What encapsulates sends with a source of its own.
        Reach::Inside | Reach::Neighbour | Reach::Encapsulated | Reach::Prohibited => true,
        Reach::Host | Reach::Unreachable | Reach::Nowhere | Reach::Astray => false,
    }
}

checked_alone! {
    fn by_others<F: Frame>(frame, work) -> Reach = no_way; Xdp as uplink_none_xdp, Skb as uplink_none_skb, Ip as uplink_none_ip
}

/// The client's own EIP has no way at all. Where routes are chosen by source, that of another link may have one. What is for this
/// host is so with any source.
#[inline(always)]
fn no_way<F: Frame>(frame: F, work: &mut Work) -> Reach {
    for nth in 1..=TRIES {
        if turn(work, nth) {
            let found = on(frame, work);
            if found.is_way() {
                return found;
            }
        }
    }
    Reach::Nowhere
}

checked_alone! {
    fn another<F: Frame>(frame, work) -> Reach = elsewhere; Xdp as uplink_xdp, Skb as uplink_skb, Ip as uplink_ip
}

/// The way leads out of another link than that of the client's own EIP: an EIP goes that belongs to that link, or to any.
#[inline(always)]
fn elsewhere<F: Frame>(frame: F, work: &mut Work) -> Reach {
    // Where the configuration says by which link, that one it is.
    if !work.search.is_bound {
        let pool = &work.search.pool;
        let nth = group_of(pool.first, u32::from(pool.count), work.route.link);
        if nth == 0 || !turn(work, nth) {
            return Reach::Astray;
        }
    }
    on(frame, work)
}

/// Asks for the way of the EIP that `work.search` names, by its link alone.
#[inline(always)]
fn on<F: Frame>(frame: F, work: &mut Work) -> Reach {
    let translated = translated(work, work.search.reverse.dst);
    let link = work.search.outside;
    resolve::resolve_on(frame, work, translated, link)
}

#[inline(always)]
fn translated(work: &Work, eip: Addr) -> Tuple {
    Tuple { src: eip, ..work.packet.tuple }
}

/// Which group of EIPs belongs to `link`, of a pool's `count` members from `first` on, counted from 1; else that of those which
/// belong to any link; else 0. A global function: the verifier checks it by itself.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn group_of(first: u32, count: u32, link: u32) -> u32 {
    let (mut at, mut found) = (0, 0);
    for nth in 1..=MAX_LINKS {
        let Some(eip) = maps::member(first + at) else { break };
        if at >= count {
            break;
        }
        // Those that belong to any link come first.
        if eip.outside == link || eip.outside == 0 {
            found = nth;
        }
        at += u32::from(eip.group_count);
    }
    found
}

/// Where the `nth` group begins, from `first`; beyond `count` when there are not so many. Likewise.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn group_at(first: u32, count: u32, nth: u32) -> u32 {
    let mut at = 0;
    for n in 1..MAX_LINKS {
        let Some(eip) = maps::member(first + at) else { break };
        if at >= count || n >= nth {
            break;
        }
        at += u32::from(eip.group_count);
    }
    at
}

/// Turns to an EIP of the pool's `nth` group, for the same client always the same one; `false` when there is no such group, or it is
/// the one that the search is at.
#[inline(always)]
fn turn(work: &mut Work, nth: u32) -> bool {
    turn_to_group(work, nth) != 0
}

/// A global function as well.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn turn_to_group(work: *mut Work, nth: u32) -> u32 {
    // SAFETY: null, or this CPU's work, which the caller lends for the call.
    let Some(work) = (unsafe { work.as_mut() }) else { return 0 };
    let pool = work.search.pool;
    let at = group_at(pool.first, u32::from(pool.count), nth);
    let (Some(settings), Some(begin)) = (maps::settings(), maps::member(pool.first + at)) else { return 0 };
    if at >= u32::from(pool.count) || begin.outside == work.search.outside {
        return 0;
    }
    let count = u32::from(begin.group_count);
    let mut member = at;
    if count > 1 {
        let bucket = settings.choice.choose(work.packet.tuple.src, pool.tables.buckets());
        let own = maps::choice(pool.tables.nth(nth), bucket);
        // While the daemon replaces a configuration, the table may be another pool's.
        member += if own < count { own } else { 0 };
    }
    let Some(eip) = maps::member(pool.first + member) else { return 0 };
    let bits = work.random.bits();
    work.random.next();
    work.search.begin_with(member, eip);
    work.search.walk = Walk::keyed(bits, work.search.ports.prime.max(1));
    1
}
