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
use nat_bench_ebpf::header::{self, DONT_FRAGMENT, ETHERTYPE_IPV4, HEADERS, TTL_AND_UDP, eth, ip, udp};
use nat_bench_ebpf::layout::births::Plan;

use crate::frame::{fold, halves, sent, store};

#[btf_map]
static BIRTHS: Array<Plan, 256> = Array::new();

/// Version and header length, no type of service.
const VERSION: u16 = u16::from_be_bytes([header::VERSION_AND_IHL, 0]).to_be();
/// UDP as it stands in the pseudo-header.
const PROTO: u16 = u16::from_be_bytes([0, header::UDP]).to_be();

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
    if start + HEADERS > end {
        return XDP_ABORTED;
    }
    let length = end - start - eth::LEN;
    let (total, datagram) = ((length as u16).to_be(), ((length - ip::LEN) as u16).to_be());
    let [src, dst] = addresses;
    let [sport, dport] = ports;
    let wire = halves(src) + halves(dst);
    let header = [VERSION, total, id, DONT_FRAGMENT, TTL_AND_UDP];
    let ip_sum = fold(header.iter().map(|w| u32::from(*w)).sum::<u32>() + wire);
    // The payload is zeros. The length counts twice: in the pseudo-header and in the header.
    let udp_sum =
        fold(wire + u32::from(PROTO) + 2 * u32::from(datagram) + u32::from(sport) + u32::from(dport));
    let frame = start as *mut u8;
    // SAFETY: HEADERS bytes are in bounds.
    unsafe {
        store(frame, eth::DST, macs[0]);
        store(frame, eth::DST + 4, macs[1]);
        store(frame, eth::DST + 8, macs[2]);
        store(frame, eth::TYPE, ETHERTYPE_IPV4);
        store(frame, ip::VERSION, VERSION);
        store(frame, ip::TOTAL, total);
        store(frame, ip::ID, id);
        store(frame, ip::FRAGMENT, DONT_FRAGMENT);
        store(frame, ip::TTL, TTL_AND_UDP);
        store(frame, ip::CHECKSUM, ip_sum);
        store(frame, ip::SRC, src);
        store(frame, ip::DST, dst);
        store(frame, udp::SPORT, sport);
        store(frame, udp::DPORT, dport);
        store(frame, udp::LENGTH, datagram);
        store(frame, udp::CHECKSUM, sent(udp_sum));
    }
    XDP_TX
}
