//! Handing a translated packet to the kernel, which resolves the neighbour, fragments, or owns the device.

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS, helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext,
};
use nat_common::{Reason, abi::HANDOVER_MARK};

use crate::stats;

/// Passes the packet on. One that is bound for the inside is marked, or the ingress guard would stop it.
#[inline(never)]
pub fn to_kernel(ctx: &XdpContext, outbound: bool) -> u32 {
    if !outbound && !mark(ctx) {
        return stats::drop(Reason::RedirectError);
    }
    stats::count(|s| s.handovers += 1);
    XDP_PASS
}

#[inline(always)]
fn mark(ctx: &XdpContext) -> bool {
    let size = size_of_val(&HANDOVER_MARK);
    // SAFETY: a valid context. Packet pointers are read anew below.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(size as i32)) } != 0 {
        return false;
    }
    let (meta, data) = (ctx.metadata(), ctx.data());
    if meta + size > data {
        return false;
    }
    // SAFETY: `size` bytes from `meta` are in bounds.
    unsafe { (meta as *mut u32).write(HANDOVER_MARK) };
    true
}
