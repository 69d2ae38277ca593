//! Frames that each open a UDP flow of their own, or visit one again: a program for live frames.
//!
//! Run with `BPF_F_TEST_XDP_LIVE_FRAMES`, it writes every header field of every frame (pages come back with what the
//! last receiver made of them) and sends the frame out of the interface that the run names as its ingress.

use aya_ebpf::{
    bindings::xdp_action::{XDP_ABORTED, XDP_TX},
    btf_maps::Array,
    helpers::generated::bpf_get_smp_processor_id,
    macros::{btf_map, xdp},
    programs::XdpContext,
};

/// Which flows a CPU is to send frames of. Userspace writes it as sixteen words, see `bench/births.rs` of nat-tests.
#[repr(C)]
#[derive(Clone, Copy)]
struct Plan {
    /// Number of the next frame. Frame `n` belongs to flow `n * stride % flows`.
    next: u32,
    /// Flows that there are numbers for.
    flows: u32,
    /// 1: one flow after the other. Coprime to `flows` and large: as good as at random, each once before any twice.
    stride: u32,
    /// First source address, host order.
    source: u32,
    /// Source addresses.
    sources: u32,
    /// First destination address, host order.
    destination: u32,
    /// Destination addresses.
    destinations: u32,
    /// First source port in the low half, destination port in the high half, host order.
    ports: u32,
    /// Ethernet addresses, as on the wire: where to, and where from.
    macs: [u32; 3],
    /// A cache line each: CPUs write their own.
    spare: [u32; 5],
}

#[btf_map]
static BIRTHS: Array<Plan, 256> = Array::new();

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const UDP: usize = 8;
/// Version 4, five words, no type of service.
const VERSION: u16 = 0x4500u16.to_be();
const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
/// 64 hops, UDP.
const TTL_PROTO: u16 = 0x4011u16.to_be();
const PROTO: u16 = 17u16.to_be();

/// One frame.
#[xdp]
pub fn bench_births(ctx: XdpContext) -> u32 {
    // SAFETY: takes no arguments and cannot fail.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let Some(plan) = BIRTHS.get_ptr_mut(cpu) else { return XDP_ABORTED };
    // SAFETY: an array element, and only this CPU's: runs do not preempt each other.
    let plan = unsafe { &mut *plan };
    let number = plan.next;
    plan.next = number.wrapping_add(1);
    // The verifier wants no proof that a divisor is not 0: dividing by 0 gives 0.
    let flow = (u64::from(number) * u64::from(plan.stride) % u64::from(plan.flows.max(1))) as u32;
    let (rest, dst) = (flow / plan.destinations.max(1), flow % plan.destinations.max(1));
    let (sport, src) = (rest / plan.sources.max(1), rest % plan.sources.max(1));
    let src = plan.source.wrapping_add(src).to_be();
    let dst = plan.destination.wrapping_add(dst).to_be();
    let sport = (plan.ports.wrapping_add(sport) as u16).to_be();
    let dport = ((plan.ports >> 16) as u16).to_be();
    write(&ctx, &plan.macs, [src, dst], [sport, dport], (number as u16).to_be())
}

/// Writes the headers. All values are in wire order.
#[inline(always)]
fn write(ctx: &XdpContext, macs: &[u32; 3], addresses: [u32; 2], ports: [u16; 2], id: u16) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + ETHERNET + IPV4 + UDP > end {
        return XDP_ABORTED;
    }
    let length = end - start - ETHERNET;
    let (total, datagram) = ((length as u16).to_be(), ((length - IPV4) as u16).to_be());
    let [src, dst] = addresses;
    let [sport, dport] = ports;
    let wire = halves(src) + halves(dst);
    let header = [VERSION, total, id, DONT_FRAGMENT, TTL_PROTO];
    let ip_sum = fold(header.iter().map(|w| u32::from(*w)).sum::<u32>() + wire);
    // The payload is zeros. The length counts twice: in the pseudo-header and in the header.
    let udp_sum =
        fold(wire + u32::from(PROTO) + 2 * u32::from(datagram) + u32::from(sport) + u32::from(dport));
    let frame = start as *mut u8;
    // SAFETY: 42 bytes are in bounds; the verifier asks for no alignment in packets.
    unsafe {
        put(frame, 0, macs[0]);
        put(frame, 4, macs[1]);
        put(frame, 8, macs[2]);
        put(frame, 12, 0x0800u16.to_be());
        put(frame, 14, VERSION);
        put(frame, 16, total);
        put(frame, 18, id);
        put(frame, 20, DONT_FRAGMENT);
        put(frame, 22, TTL_PROTO);
        put(frame, 24, ip_sum);
        put(frame, 26, src);
        put(frame, 30, dst);
        put(frame, 34, sport);
        put(frame, 36, dport);
        put(frame, 38, datagram);
        put(frame, 40, if udp_sum == 0 { !0 } else { udp_sum });
    }
    XDP_TX
}

/// # Safety
/// `frame + offset` is the start of a `T` within the frame.
#[inline(always)]
unsafe fn put<T>(frame: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { frame.add(offset).cast::<T>().write(value) }
}

/// The two 16-bit words of an address, added up.
#[inline(always)]
fn halves(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The checksum of words that add up to `sum` (RFC 1071: any byte order will do, as long as it is one).
#[inline(always)]
fn fold(sum: u32) -> u16 {
    let once = halves(sum);
    !(halves(once) as u16)
}
