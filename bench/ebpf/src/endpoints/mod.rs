//! What stands at both ends of a gateway: a sender that makes every packet anew, and a receiver that counts what comes
//! through and how long it took.

mod wire;

use core::ffi::c_void;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_ktime_get_ns, bpf_loop},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use wire::{BUCKETS, Expected, FRAME, PORTS, Plan, Received, bucket_of};

#[btf_map]
static END_PLAN: Array<Plan, 1> = Array::new();
#[btf_map]
static END_EXPECTED: Array<Expected, 1> = Array::new();
#[btf_map]
static END_RECEIVED: PerCpuArray<Received, 1> = PerCpuArray::new();
#[btf_map]
static END_DELAYS: PerCpuArray<u64, { BUCKETS as usize }> = PerCpuArray::new();

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
const PAYLOAD: usize = ETHERNET + IPV4 + UDP;
const IP_LENGTH: u16 = (FRAME - ETHERNET) as u16;
const UDP_LENGTH: u16 = (FRAME - ETHERNET - IPV4) as u16;

/// Version, header length, DSCP; total length; identification; flags: the words of an IPv4 header that never change.
const IP_FIXED: [u16; 4] = [0x4500, IP_LENGTH, 0, 0x4000];
/// TTL 64, UDP.
const TTL_PROTO: u16 = 0x4011;

/// Looks at the clock until a burst is due. Ten milliseconds at most, so that a plan gone wrong ends.
const LOOKS: u32 = 400_000;

/// Run as `BPF_PROG_TEST_RUN` with live frames, not attached: fills in a frame of [`FRAME`] bytes and sends it out of
/// the interface that the run names. Frames come back used, so every byte is written every time.
#[xdp]
pub fn end_send(ctx: XdpContext) -> u32 {
    let Some(plan) = END_PLAN.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: an element of an array map; the sender is the only one who writes while it runs, and it runs once.
    let plan = unsafe { &mut *plan };
    let number = plan.next;
    plan.next += 1;
    if plan.gap_ns != 0 && number as u32 & (plan.burst - 1) == 0 {
        wait(plan);
    }
    let flow = number % plan.flows.max(1);
    let low = plan.src_bits + plan.dst_bits;
    let src = plan.src + (flow as u32 & ((1 << (plan.src_bits & 31)) - 1));
    let dst = plan.dst + ((flow >> (plan.src_bits & 31)) as u32 & ((1 << (plan.dst_bits & 31)) - 1));
    // Hosts count their ports up from different starts.
    let start = (flow & ((1 << (low & 63)) - 1)).wrapping_mul(0x9e37_79b9);
    let sport = 1024 + (((flow >> (low & 63)) + (start >> 8)) % PORTS) as u16;
    let stamp = if plan.is_timed != 0 { now() } else { 0 };
    write(&ctx, plan, src, dst, sport, stamp)
}

/// Writes the frame.
#[inline(always)]
fn write(ctx: &XdpContext, plan: &Plan, src: u32, dst: u32, sport: u16, stamp: u64) -> u32 {
    let frame = ctx.data();
    if frame + FRAME > ctx.data_end() {
        return XDP_ABORTED;
    }
    let dport = plan.dport as u16;
    let addresses = sum32(src) + sum32(dst);
    let ip_sum = addresses
        + u32::from(IP_FIXED[0])
        + u32::from(IP_FIXED[1])
        + u32::from(IP_FIXED[3])
        + u32::from(TTL_PROTO);
    let udp_sum = addresses
        + 17
        + 2 * u32::from(UDP_LENGTH)
        + u32::from(sport)
        + u32::from(dport)
        + sum32(stamp as u32)
        + sum32((stamp >> 32) as u32);
    let udp_check = match fold(udp_sum) {
        // Zero would mean "none".
        0 => 0xffff,
        check => check,
    };
    let base = frame as *mut u8;
    let ip = ETHERNET;
    let udp = ETHERNET + IPV4;
    // SAFETY: FRAME bytes are in bounds, and every offset plus its size is below.
    unsafe {
        put(base, 0, plan.macs);
        put(base, 12, 0x0800u16.to_be());
        put(base, ip, IP_FIXED[0].to_be());
        put(base, ip + 2, IP_FIXED[1].to_be());
        put(base, ip + 4, IP_FIXED[2].to_be());
        put(base, ip + 6, IP_FIXED[3].to_be());
        put(base, ip + 8, TTL_PROTO.to_be());
        put(base, ip + 10, fold(ip_sum).to_be());
        put(base, ip + 12, src.to_be());
        put(base, ip + 16, dst.to_be());
        put(base, udp, sport.to_be());
        put(base, udp + 2, dport.to_be());
        put(base, udp + 4, UDP_LENGTH.to_be());
        put(base, udp + 6, udp_check.to_be());
        put(base, PAYLOAD, stamp.to_be());
        put(base, PAYLOAD + 8, 0u64);
        put(base, PAYLOAD + 16, 0u16);
    }
    XDP_TX
}

/// Counts the sender's packets and drops them; the rest is the host's.
#[xdp(frags)]
pub fn end_receive(ctx: XdpContext) -> u32 {
    let (frame, end) = (ctx.data(), ctx.data_end());
    if frame + FRAME > end {
        return XDP_PASS;
    }
    let base = frame as *const u8;
    // SAFETY: FRAME bytes are in bounds.
    let (ethertype, first, proto, src, dport, stamp) = unsafe {
        (
            get::<u16>(base, 12),
            get::<u8>(base, ETHERNET),
            get::<u8>(base, ETHERNET + 9),
            u32::from_be(get(base, ETHERNET + 12)),
            u16::from_be(get(base, ETHERNET + IPV4 + 2)),
            u64::from_be(get(base, PAYLOAD)),
        )
    };
    let Some(expected) = END_EXPECTED.get(0) else { return XDP_PASS };
    if ethertype != 0x0800u16.to_be()
        || first != 0x45
        || proto != 17
        || u32::from(dport) != expected.dport
        || expected.is_open != 0
    {
        return XDP_PASS;
    }
    if let Some(received) = END_RECEIVED.get_ptr_mut(0) {
        // SAFETY: a per-CPU element, and XDP programs do not nest on a CPU.
        let received = unsafe { &mut *received };
        if src & expected.mask == expected.src {
            received.good += 1;
        } else {
            received.bad += 1;
        }
    }
    if stamp != 0
        && let Some(count) = END_DELAYS.get_ptr_mut(bucket_of(now().saturating_sub(stamp)))
    {
        // SAFETY: as above.
        unsafe { *count += 1 };
    }
    XDP_DROP
}

/// Waits until the next burst is due. One that could not be sent in time is not made up for.
#[inline(always)]
fn wait(plan: &mut Plan) {
    let mut until = plan.due_ns;
    // SAFETY: the callback has the signature that bpf_loop wants, and `until` outlives the call.
    unsafe { bpf_loop(LOOKS, is_due as *mut c_void, (&raw mut until).cast(), 0) };
    let now = now();
    let next = plan.due_ns + plan.gap_ns;
    plan.due_ns = if next > now { next } else { now };
}

unsafe extern "C" fn is_due(_index: u32, until: *mut u64) -> i64 {
    // SAFETY: bpf_loop passes on the pointer it was given.
    i64::from(now() >= unsafe { *until })
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: the helper takes no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// Both halves of a word, for a checksum.
#[inline(always)]
fn sum32(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The Internet checksum of a sum of words.
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let once = sum32(sum);
    !sum32(once) as u16
}

/// # Safety
/// `base + offset` is the start of a `T` within the frame. Packets need not be aligned on the machines that run this.
#[inline(always)]
unsafe fn put<T>(base: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().write(value) }
}

/// # Safety
/// As [`put`].
#[inline(always)]
unsafe fn get<T: Copy>(base: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().read() }
}
