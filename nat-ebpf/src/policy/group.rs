//! IPv4 in a link-layer broadcast or multicast frame: for every host on the wire, so it may be for this one too, but never
//! for an inside host or an EIP, and never translated.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use nat_common::{Addr, PassReason, Reason, Side};

use crate::{maps, policy::source, policy::via, verdict, wire::packet, wire::packet::Addresses, work};

/// Decides about the frame; the XDP action, counted.
#[inline(always)]
pub fn decide(ctx: &XdpContext, addresses: Addresses) -> u32 {
    group_decide(ctx.ctx, addresses.src.be, addresses.dst.be)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn group_decide(ctx: *mut xdp_md, src: u32, dst: u32) -> u32 {
    let (src, dst) = (Addr { be: src }, Addr { be: dst });
    let ifindex = XdpContext::new(ctx).ingress_ifindex() as u32;
    let (Some(iface), Some(packet)) = (maps::iface(ifindex), work::packet()) else {
        return verdict::unparsed(Reason::Policy);
    };
    (packet.tuple.src, packet.tuple.dst) = (src, dst);
    if packet::group_has_source_route(ctx) {
        return verdict::unparsed(Reason::SourceRoute);
    }
    if !source::is_for_everybody(iface, dst) {
        return verdict::unparsed(Reason::GroupMac);
    }
    let genuine = if iface.side == Side::OUTSIDE {
        maps::is_exempt(src) && via::is_genuine(&XdpContext::new(ctx))
            || maps::pool(src).is_none() && maps::eip(src).is_none()
    } else {
        // 0.0.0.0: a host that asks for an address (RFC 2131 section 4.1).
        src == Addr::default() || maps::eip(src).is_none() && via::is_genuine(&XdpContext::new(ctx))
    };
    if genuine { verdict::pass(PassReason::Group) } else { verdict::unparsed(Reason::SpoofedSource) }
}
