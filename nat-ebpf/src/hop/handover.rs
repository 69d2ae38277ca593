//! Handing a translated packet to the kernel, which resolves the neighbour, fragments, or owns the device.

use aya_ebpf::{
    bindings::xdp_action::XDP_PASS, helpers::generated::bpf_xdp_adjust_meta, programs::XdpContext,
};
use nat_common::{abi::HANDOVER_MARK, settings::Settings};

use crate::{maps, report::stats, wire::packet::ETHERNET, wire::packet::store};

/// Passes the packet, which is marked, on.
#[inline(always)]
pub fn to_kernel() -> u32 {
    stats::count(|s| s.handovers += 1);
    XDP_PASS
}

/// Marks the packet as natgw's own, or an ingress guard would stop it: whether that was possible.
///
/// The mark is metadata in front of the frame. Drivers without room for that (tun, ENA) get another: the frame is then from
/// an Ethernet address that was drawn for this and that nobody can see.
#[inline(never)]
pub fn mark(ctx: &XdpContext) -> bool {
    let size = size_of_val(&HANDOVER_MARK);
    // SAFETY: a valid context. Packet pointers are read anew below.
    if unsafe { bpf_xdp_adjust_meta(ctx.ctx, -(size as i32)) } != 0 {
        return mark_sender(ctx);
    }
    let (meta, data) = (ctx.metadata(), ctx.data());
    if meta + size > data {
        return false;
    }
    // SAFETY: `size` bytes from `meta` are in bounds.
    unsafe { (meta as *mut u32).write(HANDOVER_MARK) };
    true
}

#[inline(always)]
fn mark_sender(ctx: &XdpContext) -> bool {
    let start = ctx.data();
    let Some(settings) = maps::settings() else { return false };
    if start + ETHERNET > ctx.data_end() {
        return false;
    }
    // SAFETY: ETHERNET bytes are in bounds.
    unsafe { store(start as *mut u8, 6, sender(settings)) };
    true
}

/// The Ethernet address of what is handed over without metadata.
#[inline(always)]
pub fn sender(settings: &Settings) -> [u8; 6] {
    let drawn = &settings.handover_mac;
    [drawn[0], drawn[1], drawn[2], drawn[3], drawn[4], drawn[5]]
}
