//! IPv4 in a link-layer broadcast or multicast frame: for every host on the wire, so it may be for this one too, but never
//! for an inside host or an EIP, and never translated.

use nat_common::{Addr, PassReason, Reason, Side, Tuple, Verdict};

use super::{kernel::is_for_everybody, source};
use crate::{
    frame::{Frame, checked_alone},
    maps,
    wire::parse,
    work::Work,
};

checked_alone! {
    /// How the frame ends, of whose packet only the addresses are read.
    pub fn verdict<F: Frame>(frame, work) -> Result<(), Verdict> = decide; Xdp as group_xdp, Skb as group_skb, Ip as group_ip
}

#[inline(always)]
fn decide<F: Frame>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    let Some(iface) = maps::iface(frame.ingress()) else { return Err(Verdict::drop(Reason::Policy)) };
    let Tuple { src, dst, .. } = work.packet.tuple;
    if parse::addresses(frame, F::LINK, work).is_none() {
        return Err(Verdict::drop(Reason::SourceRoute));
    }
    if !is_for_everybody(iface, dst) {
        return Err(Verdict::drop(Reason::GroupMac));
    }
    let genuine = if iface.side == Side::OUTSIDE {
        maps::is_exempt(src) && source::is_genuine(frame, work)
            || maps::pool(src).is_none() && maps::eip(src).is_none()
    } else {
        // 0.0.0.0: a host that asks for an address (RFC 2131 section 4.1).
        src == Addr::default() || maps::eip(src).is_none() && source::is_genuine(frame, work)
    };
    Err(if genuine { Verdict::pass(PassReason::Group) } else { Verdict::drop(Reason::SpoofedSource) })
}
