//! The rig's receivers: one that counts, one that answers, one that lets a tap look.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS},
    btf_maps::PerCpuArray,
    helpers::generated::bpf_redirect,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use nat_bench_ebpf::header::{HEADERS, eth, ip, udp};

/// Packets. Element 0: what came through. Element 1: answers that came back.
#[btf_map]
static RIG_COUNTS: PerCpuArray<u64, 2> = PerCpuArray::new();

#[inline(always)]
fn count(element: u32) {
    if let Some(packets) = RIG_COUNTS.get_ptr_mut(element) {
        // SAFETY: a per-CPU element, and XDP programs do not preempt each other on a CPU.
        unsafe { *packets += 1 };
    }
}

/// Counts and drops: the far end, and the ceiling's gateway.
#[xdp]
pub fn rig_receive(_ctx: XdpContext) -> u32 {
    count(0);
    XDP_DROP
}

/// Counts and drops on the generator's side, where answers arrive.
#[xdp]
pub fn rig_receive_answer(_ctx: XdpContext) -> u32 {
    count(1);
    XDP_DROP
}

/// Counts, and hands the frame to the kernel, where a packet socket sees it.
#[xdp]
pub fn rig_look(_ctx: XdpContext) -> u32 {
    count(0);
    XDP_PASS
}

/// Counts, and answers: the same datagram back to where it came from. Checksums stay right, for every sum that a
/// swap changes has the same terms.
#[xdp]
pub fn rig_answer(ctx: XdpContext) -> u32 {
    count(0);
    let start = ctx.data();
    if start + HEADERS > ctx.data_end() {
        return XDP_DROP;
    }
    let frame = start as *mut u8;
    // SAFETY: HEADERS bytes from `frame` are in bounds. The verifier does not ask for alignment in packets here.
    unsafe {
        swap::<[u16; 3]>(frame, eth::DST, eth::SRC);
        swap::<u32>(frame, ip::SRC, ip::DST);
        swap::<u16>(frame, udp::SPORT, udp::DPORT);
    }
    // Not XDP_TX, which wakes only a peer that has an XDP program.
    // SAFETY: a plain call.
    match unsafe { bpf_redirect(ctx.ingress_ifindex() as u32, 0) } {
        action if action >= 0 => action as u32,
        _ => XDP_ABORTED,
    }
}

/// # Safety
/// A `T` starts at `base + a` and another at `base + b`, both within the frame.
#[inline(always)]
unsafe fn swap<T: Copy>(base: *mut u8, a: usize, b: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (base.add(a).cast::<T>(), base.add(b).cast::<T>());
        let first = a.read_unaligned();
        a.write_unaligned(b.read_unaligned());
        b.write_unaligned(first);
    }
}
