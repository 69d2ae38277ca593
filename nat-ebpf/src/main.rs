//! The natgw packet path: three XDP programs that differ by one constant, the reaper, and two tc guards.
//!
//! Read `fast.rs` first: it is what a packet of a known flow meets, top to bottom. Everything else is the
//! slow path, reached on a miss or by a packet that the fast path may not decide about.
#![no_std]
#![no_main]
#![feature(core_intrinsics, asm_experimental_arch)]
#![expect(missing_docs, reason = "the entry macros drop the documentation of the functions they wrap")]
#![expect(
    internal_features,
    reason = "atomics.rs: core::sync::atomic has no read-modify-write on this target"
)]

mod answer;
mod atomics;
mod budget;
mod claim;
mod clock;
mod egress;
mod fast;
mod fib;
mod flow;
mod group;
mod guard;
mod handover;
mod hop;
mod hops;
mod host;
mod ingress;
mod life;
mod log;
mod maps;
mod options;
mod packet;
mod ping;
mod policy;
mod reap;
mod scratch;
mod secret;
mod stats;
mod table;
mod tags;
mod tcp;
mod verdict;
mod via;

use aya_ebpf::{
    macros::{classifier, xdp},
    programs::{TcContext, XdpContext},
};
use nat_common::Side;

/// On an inside interface.
#[xdp(frags)]
pub fn xdp_inside(ctx: XdpContext) -> u32 {
    fast::translate::<{ Side::INSIDE }>(&ctx)
}

/// On an outside interface.
#[xdp(frags)]
pub fn xdp_outside(ctx: XdpContext) -> u32 {
    fast::translate::<{ Side::OUTSIDE }>(&ctx)
}

/// On the one interface of a one-armed gateway.
#[xdp(frags)]
pub fn xdp_onearm(ctx: XdpContext) -> u32 {
    fast::translate::<{ Side::ONEARM }>(&ctx)
}

/// Never attached: the daemon runs it with a list of candidates for a "packet".
#[xdp]
pub fn reaper(ctx: XdpContext) -> u32 {
    reap::run(&ctx)
}

/// tc egress of outside interfaces.
#[classifier]
pub fn guard_egress(ctx: TcContext) -> i32 {
    guard::egress(&ctx)
}

/// tc ingress of every managed interface.
#[classifier]
pub fn guard_ingress(ctx: TcContext) -> i32 {
    guard::ingress(&ctx)
}

// bpf_fib_lookup is GPL-only (net/core/filter.c, bpf_xdp_fib_lookup_proto).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
