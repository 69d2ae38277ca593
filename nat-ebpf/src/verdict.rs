//! The one exit of whatever is not translated: it alone counts, logs, answers, and knows the numbers of XDP actions.
//!
//! Every frame that enters a managed interface ends in exactly one of: a meter of what was sent (`fast::forwarded`), a drop
//! reason, or `passed`. What is dropped with its headers read counts as received too.

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    programs::XdpContext,
};
use nat_common::{PassReason, Reason, Verdict, stats::Meter};

use crate::{maps, report::log, report::stats, wire::answer, wire::answer::Sent, work};

/// Ends the packet at hand; the XDP action.
#[inline(always)]
pub fn finish(ctx: &XdpContext, outbound: bool, verdict: Verdict) -> u32 {
    verdict_finish(ctx.ctx, Verdict::number(Err(verdict)), u32::from(outbound))
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn verdict_finish(ctx: *mut xdp_md, number: u32, outbound: u32) -> u32 {
    let outbound = outbound != 0;
    let Err(verdict) = Verdict::from_number(number) else { return XDP_DROP };
    if !verdict.is_drop() {
        stats::passed(verdict.reason());
        return XDP_PASS;
    }
    let Some(packet) = work::packet() else { return XDP_DROP };
    let ctx = XdpContext::new(ctx);
    let meter = if outbound { Meter::SourceIn } else { Meter::DestinationIn };
    stats::received(meter, u64::from(packet.len));
    stats::dropped(verdict.reason());
    log::refused(&ctx, packet, verdict.reason() as u32);
    let (Some(answer), Some(iface)) = (verdict.told(), maps::iface(ctx.ingress_ifindex() as u32)) else {
        return XDP_DROP;
    };
    match answer::send(&ctx, packet, iface, answer, outbound) {
        Sent::Yes(action) => {
            stats::count(|s| s.answers[answer as usize] += 1);
            action
        }
        Sent::Limited => {
            stats::count(|s| s.answers_limited += 1);
            XDP_DROP
        }
        Sent::No => XDP_DROP,
    }
}

/// Ends a frame whose packet was not read; the XDP action.
#[inline(always)]
pub fn unparsed(reason: Reason) -> u32 {
    stats::dropped(reason as usize);
    XDP_DROP
}

/// Leaves a frame whose packet was not read to the kernel as it is; the XDP action.
#[inline(always)]
pub fn pass(reason: PassReason) -> u32 {
    stats::passed(reason as usize);
    XDP_PASS
}
