//! A packet of a live flow that the fast path would not send: its hop is stale, its TTL or size is special, or its device is
//! the kernel's. Routes may have changed, so whether the packet may go there is decided again.

use nat_common::{Answer, Proto, Reason, Verdict, handover::Handover};

use super::{end, source};
use crate::{
    frame::Frame,
    hop::{
        resolve::{self, Reach},
        slots,
        way::{self, Way},
    },
    maps,
    report::stats,
    table::EntryRef,
    work::{Work, route::Hop},
};

/// How the packet leaves; `work.route.hop` is then its hop.
#[inline(never)]
pub fn way<F: Frame>(frame: F, work: &mut Work, flow: EntryRef) -> Result<Way, Verdict> {
    let outbound = flow.is_outbound();
    let stamp = flow.hop();
    work.route.hop = Hop::UNRESOLVED;
    if let Some(current) = slots::current(stamp) {
        work.route.hop = current.read();
        work.route.next = slots::next(stamp).unwrap_or(Handover::KERNEL);
    }
    // The slot may have been given to another next hop while it was read, so its stamp is compared once more after that.
    if work.route.hop.stamp != stamp || slots::current(stamp).is_none() {
        if outbound && !source::is_genuine(frame, work) {
            return Err(Verdict::drop(Reason::SpoofedSource));
        }
        let translated = flow.entry().translated(&work.packet.tuple);
        let link = if outbound { maps::eip(translated.src).map_or(0, |eip| eip.outside) } else { 0 };
        let reach = resolve::resolve_on(frame, work, translated, link);
        if reach == Reach::Astray || link != 0 && reach.is_no_way() {
            return Err(strand(work));
        }
        if is_astray(frame, outbound, reach) {
            return Err(Verdict::drop(Reason::NoRoute));
        }
        if !flow.store_hop(&work.packet.tuple, stamp, work.route.hop.stamp) {
            return Err(Verdict::drop(Reason::Expired));
        }
    }
    way::of(work)
}

/// Ends the flow of the packet at hand, which cannot leave by the link that its EIP belongs to any more. A new flow takes another
/// EIP; only TCP has a way to tell its sender to begin one.
#[inline(always)]
fn strand(work: &Work) -> Verdict {
    end::flow(&work.packet.tuple);
    stats::count(|s| s.wrong_link += 1);
    if work.packet.tuple.proto == Proto::Tcp as u8 {
        Verdict::answer(Reason::NoRoute, Answer::Reset)
    } else {
        Verdict::drop(Reason::NoRoute)
    }
}

/// Whether a packet of a live flow must not go where its route leads now: outbound back inside or where natgw opened the way,
/// inbound out again (when an inside network's route is gone, the default route leads outside).
#[inline(always)]
fn is_astray<F: Frame>(frame: F, outbound: bool, reach: Reach) -> bool {
    match reach {
        Reach::Outside => !outbound,
        Reach::Inside | Reach::Neighbour => outbound,
        Reach::Either | Reach::EitherInside | Reach::Encapsulated => false,
        Reach::Unmanaged => outbound && maps::iface(frame.ingress()).is_none_or(|iface| iface.forwarded == 0),
        Reach::Host | Reach::Unreachable | Reach::Prohibited | Reach::Nowhere | Reach::Astray => true,
    }
}
