//! The interface by which a flow's packets come, where there are several inside ones: a packet that comes by another one
//! must have a source that is genuine there too.
//!
//! Its number is in six bits of the entry's `seen`, which every hit reads anyway: comparing them is all that it costs.

use aya_ebpf::{bindings::xdp_md, programs::XdpContext};
use nat_common::{FlowEntry, Reason, Verdict};

use crate::{maps, policy::source, table::flow::Flow, work};

/// The inside interface that the last packet on this CPU came by.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Arrival {
    ifindex: u32,
    /// As in `seen`.
    via: u32,
}

/// Whether the packet came as its flow's packets do, or as they may from now on.
#[inline(always)]
pub fn check(ctx: &XdpContext, flow: Flow, seen: u32) -> Result<(), Verdict> {
    let via = arrival(ctx)?;
    if seen & FlowEntry::VIA == via {
        return Ok(());
    }
    if via_genuine(ctx.ctx) == 0 {
        return Err(Verdict::drop(Reason::SpoofedSource));
    }
    flow.clear_seen(FlowEntry::VIA);
    flow.set_seen(via);
    Ok(())
}

/// The interface that the packet came by, as in `seen`.
#[inline(always)]
fn arrival(ctx: &XdpContext) -> Result<u32, Verdict> {
    let ifindex = ctx.ingress_ifindex() as u32;
    let Some(arrival) = work::arrival() else { return Err(Verdict::drop(Reason::Policy)) };
    if arrival.ifindex != ifindex {
        // An index is never an interface's again while natgw manages it under another number.
        let Some(iface) = maps::iface(ifindex) else { return Err(Verdict::drop(Reason::Policy)) };
        *arrival = Arrival { ifindex, via: FlowEntry::via(iface.devmap) };
    }
    Ok(arrival.via)
}

/// 1 when the source of the packet at hand is genuine.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn via_genuine(ctx: *mut xdp_md) -> u32 {
    let (Some(packet), Some(fib)) = (work::packet(), work::fib()) else { return 0 };
    let ifindex = XdpContext::new(ctx).ingress_ifindex() as u32;
    let Some(iface) = maps::iface(ifindex) else { return 0 };
    u32::from(source::is_genuine(ctx.cast(), ifindex, iface, packet.tuple.src, packet.tuple.dst, fib))
}

/// The same for the packet at hand of any program.
#[inline(always)]
pub fn is_genuine(ctx: &XdpContext) -> bool {
    via_genuine(ctx.ctx) != 0
}
