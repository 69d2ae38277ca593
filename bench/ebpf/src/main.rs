//! The benchmark's programs: what makes packets, what counts them, and what natgw is compared with.
#![no_std]
#![no_main]
#![expect(missing_docs, reason = "the entry macros drop the documentation of the functions they wrap")]

mod births;
mod driver;
mod endpoints;
mod forward;
mod frame;
mod generator;
mod receiver;
mod reference;

use aya_ebpf::{bindings::xdp_action::XDP_DROP, macros::xdp, programs::XdpContext};

/// The least a program can do.
#[xdp(frags)]
pub fn bench_empty(_ctx: XdpContext) -> u32 {
    XDP_DROP
}

// bpf_fib_lookup is GPL-only (net/core/filter.c, bpf_xdp_fib_lookup_proto).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
