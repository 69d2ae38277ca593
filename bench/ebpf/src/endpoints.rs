//! What stands at both ends of a gateway: a sender that makes every packet anew, and a receiver that counts what comes
//! through and how long it took.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
    btf_maps::{Array, PerCpuArray},
    helpers::generated::{bpf_ktime_get_ns, bpf_loop},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use nat_bench_ebpf::header::{
    self, DONT_FRAGMENT, ETHERTYPE_IPV4, HEADERS, TTL_AND_UDP, VERSION_AND_IHL, eth, ip, udp,
};
use nat_bench_ebpf::layout::endpoints::{BUCKETS, Expected, FRAME, PORTS, Plan, Received, bucket_of};

use crate::frame::{fold, halves, load, sent, store};

#[btf_map]
static END_PLAN: Array<Plan, 1> = Array::new();
#[btf_map]
static END_EXPECTED: Array<Expected, 1> = Array::new();
#[btf_map]
static END_RECEIVED: PerCpuArray<Received, 1> = PerCpuArray::new();
#[btf_map]
static END_DELAYS: PerCpuArray<u64, { BUCKETS as usize }> = PerCpuArray::new();

/// Length of the IPv4 packet and of the UDP datagram in a frame of the sender.
const IP_LENGTH: u16 = (FRAME - eth::LEN) as u16;
const UDP_LENGTH: u16 = IP_LENGTH - ip::LEN as u16;

/// Version, header length, DSCP; total length; identification; flags: the words of an IPv4 header that never change.
const IP_FIXED: [u16; 4] =
    [u16::from_be_bytes([VERSION_AND_IHL, 0]), IP_LENGTH, 0, u16::from_be(DONT_FRAGMENT)];
const TTL_PROTO: u16 = u16::from_be(TTL_AND_UDP);

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
    let addresses = halves(src) + halves(dst);
    let ip_sum = addresses
        + u32::from(IP_FIXED[0])
        + u32::from(IP_FIXED[1])
        + u32::from(IP_FIXED[3])
        + u32::from(TTL_PROTO);
    let udp_sum = addresses
        + u32::from(header::UDP)
        + 2 * u32::from(UDP_LENGTH)
        + u32::from(sport)
        + u32::from(dport)
        + halves(stamp as u32)
        + halves((stamp >> 32) as u32);
    let udp_check = sent(fold(udp_sum));
    let base = frame as *mut u8;
    // SAFETY: FRAME bytes are in bounds, and every offset plus its size is below.
    unsafe {
        store(base, eth::DST, plan.macs);
        store(base, eth::TYPE, ETHERTYPE_IPV4);
        store(base, ip::VERSION, IP_FIXED[0].to_be());
        store(base, ip::TOTAL, IP_FIXED[1].to_be());
        store(base, ip::ID, IP_FIXED[2].to_be());
        store(base, ip::FRAGMENT, IP_FIXED[3].to_be());
        store(base, ip::TTL, TTL_PROTO.to_be());
        store(base, ip::CHECKSUM, fold(ip_sum).to_be());
        store(base, ip::SRC, src.to_be());
        store(base, ip::DST, dst.to_be());
        store(base, udp::SPORT, sport.to_be());
        store(base, udp::DPORT, dport.to_be());
        store(base, udp::LENGTH, UDP_LENGTH.to_be());
        store(base, udp::CHECKSUM, udp_check.to_be());
        store(base, HEADERS, stamp.to_be());
        store(base, HEADERS + 8, 0u64);
        store(base, HEADERS + 16, 0u16);
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
            load::<u16>(base, eth::TYPE),
            load::<u8>(base, ip::VERSION),
            load::<u8>(base, ip::PROTO),
            u32::from_be(load(base, ip::SRC)),
            u16::from_be(load(base, udp::DPORT)),
            u64::from_be(load(base, HEADERS)),
        )
    };
    let Some(expected) = END_EXPECTED.get(0) else { return XDP_PASS };
    if ethertype != ETHERTYPE_IPV4
        || first != VERSION_AND_IHL
        || proto != header::UDP
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
