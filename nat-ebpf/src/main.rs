//! The natgw packet path: three XDP programs that differ by one constant, their twins for tc, the reaper, and two tc guards.
//!
//! Read `pipeline.rs` first: it is what a packet of a known flow meets, top to bottom. Everything else is the
//! slow path, reached on a miss or by a packet that the fast path may not decide about.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(missing_docs, reason = "the entry macros drop the documentation of the functions they wrap")]
#![expect(
    internal_features,
    reason = "kernel/memory.rs: core::sync::atomic has no read-modify-write on this target"
)]

mod budget;
mod control;
mod flow;
mod frame;
mod guard;
mod hop;
mod kernel;
mod mapping;
mod maps;
mod pipeline;
mod policy;
mod report;
mod table;
mod verdict;
mod wire;
mod work;

use aya_ebpf::{
    macros::{classifier, raw_tracepoint, xdp},
    programs::{RawTracePointContext, TcContext, XdpContext},
};
use nat_common::Side;

use frame::{
    skb::{Ip, Skb},
    xdp::Xdp,
};

/// On an inside interface.
#[xdp(frags)]
pub fn xdp_inside(ctx: XdpContext) -> u32 {
    pipeline::translate::<_, { Side::INSIDE }>(Xdp::new(ctx.ctx))
}

/// On an outside interface.
#[xdp(frags)]
pub fn xdp_outside(ctx: XdpContext) -> u32 {
    pipeline::translate::<_, { Side::OUTSIDE }>(Xdp::new(ctx.ctx))
}

/// On the one interface of a one-armed gateway.
#[xdp(frags)]
pub fn xdp_onearm(ctx: XdpContext) -> u32 {
    pipeline::translate::<_, { Side::ONEARM }>(Xdp::new(ctx.ctx))
}

/// tc ingress of an inside interface.
#[classifier]
pub fn tc_inside(ctx: TcContext) -> i32 {
    pipeline::translate::<_, { Side::INSIDE }>(Skb::new(ctx.skb.skb)) as i32
}

/// tc ingress of an outside interface.
#[classifier]
pub fn tc_outside(ctx: TcContext) -> i32 {
    pipeline::translate::<_, { Side::OUTSIDE }>(Skb::new(ctx.skb.skb)) as i32
}

/// tc ingress of the one interface of a one-armed gateway.
#[classifier]
pub fn tc_onearm(ctx: TcContext) -> i32 {
    pipeline::translate::<_, { Side::ONEARM }>(Skb::new(ctx.skb.skb)) as i32
}

/// tc ingress of an inside interface that has no link-layer header.
#[classifier]
pub fn l3_inside(ctx: TcContext) -> i32 {
    pipeline::translate::<_, { Side::INSIDE }>(Ip::new(ctx.skb.skb)) as i32
}

/// tc ingress of an outside interface that has no link-layer header.
#[classifier]
pub fn l3_outside(ctx: TcContext) -> i32 {
    pipeline::translate::<_, { Side::OUTSIDE }>(Ip::new(ctx.skb.skb)) as i32
}

/// tc ingress of the one interface of a one-armed gateway, where it has no link-layer header.
#[classifier]
pub fn l3_onearm(ctx: TcContext) -> i32 {
    pipeline::translate::<_, { Side::ONEARM }>(Ip::new(ctx.skb.skb)) as i32
}

/// Never attached: the daemon runs it with a list of candidates for a "packet".
#[xdp]
pub fn reaper(ctx: XdpContext) -> u32 {
    control::reap::run(ctx.ctx)
}

/// tc egress of outside interfaces.
#[classifier]
pub fn guard_egress(ctx: TcContext) -> i32 {
    guard::egress(Skb::new(ctx.skb.skb))
}

/// tc ingress of every managed interface.
#[classifier]
pub fn guard_ingress(ctx: TcContext) -> i32 {
    guard::ingress(Skb::new(ctx.skb.skb))
}

/// The kernel refused a redirect.
#[raw_tracepoint(tracepoint = "xdp_redirect_err")]
pub fn lost_refused(ctx: RawTracePointContext) -> i32 {
    control::lost::refused(&ctx);
    0
}

/// A driver took frames that were redirected.
#[raw_tracepoint(tracepoint = "xdp_devmap_xmit")]
pub fn lost_xmit(ctx: RawTracePointContext) -> i32 {
    control::lost::dropped(&ctx);
    0
}

/// An XDP action was not carried out.
#[raw_tracepoint(tracepoint = "xdp_exception")]
pub fn lost_back(ctx: RawTracePointContext) -> i32 {
    control::lost::not_sent_back(&ctx);
    0
}

/// tc egress of outside interfaces without link-layer header.
#[classifier]
pub fn guard_egress_l3(ctx: TcContext) -> i32 {
    guard::egress(Ip::new(ctx.skb.skb))
}

/// tc ingress of managed interfaces without link-layer header.
#[classifier]
pub fn guard_in_l3(ctx: TcContext) -> i32 {
    guard::ingress(Ip::new(ctx.skb.skb))
}

// bpf_fib_lookup is GPL-only (net/core/filter.c, bpf_xdp_fib_lookup_proto).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
