//! Handing a translated packet to the kernel, which resolves the neighbour, fragments, or owns the device.

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS, helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext,
};
use nat_common::abi::HANDOVER_MARK;

use crate::stats;

/// Passes the packet, which is marked, on.
#[inline(always)]
pub fn to_kernel() -> u32 {
    stats::count(|s| s.handovers += 1);
    XDP_PASS
}

/// Marks the packet as natgw's own, or an ingress guard would stop it: whether that was possible.
#[inline(never)]
pub fn mark(ctx: &XdpContext) -> bool {
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
