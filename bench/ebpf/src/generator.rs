//! The rig's generator: run with `BPF_F_TEST_XDP_LIVE_FRAMES`, it turns each recycled frame into the next packet of a
//! list that userspace prepared, and sends it.
//!
//! Everything that costs time is in the list: the order of the flows and every checksum. What is left is one
//! sequential read of 16 bytes and the writing of 42, so that the generator is not what the rig measures.

use aya_ebpf::{
    bindings::xdp_action::XDP_ABORTED,
    btf_maps::{Array, DevMap},
    helpers::generated::bpf_xdp_adjust_tail,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use nat_bench_ebpf::header::{DONT_FRAGMENT, HEADERS, TTL_AND_UDP, VERSION_AND_IHL, eth, ip, udp};
use nat_bench_ebpf::layout::rig::{Course, Visit};

/// Length of every frame of a mix before it is cut.
const LONGEST: i32 = 1514;

#[btf_map]
static RIG_VISITS: Array<Visit, 1> = Array::new();
#[btf_map]
static RIG_COURSE: Array<Course, 1> = Array::new();
#[btf_map]
static RIG_TARGETS: DevMap<32> = DevMap::new();

/// Frames of one length: that of the test run's input.
#[xdp]
pub fn rig_generate(ctx: XdpContext) -> u32 {
    generate::<false>(&ctx).unwrap_or(XDP_ABORTED)
}

/// Frames of the lengths that the list says; the test run's input has the largest.
#[xdp]
pub fn rig_generate_mix(ctx: XdpContext) -> u32 {
    generate::<true>(&ctx).unwrap_or(XDP_ABORTED)
}

#[inline(always)]
fn generate<const MIX: bool>(ctx: &XdpContext) -> Option<u32> {
    // SAFETY: userspace writes it only while no generator runs, and one generator runs at a time.
    let course = unsafe { &mut *RIG_COURSE.get_ptr_mut(0)? };
    let at = course.next;
    let visit = *RIG_VISITS.get(at)?;
    course.next = if at + 1 < course.visits { at + 1 } else { 0 };
    course.made += 1;
    if MIX {
        let change = i32::from(visit.frame) - LONGEST;
        // SAFETY: a valid context. The pointers into the frame are taken afterwards.
        if unsafe { bpf_xdp_adjust_tail(ctx.ctx, change) } != 0 {
            return None;
        }
    }
    let start = ctx.data();
    if start + HEADERS > ctx.data_end() {
        return None;
    }
    let frame = start as *mut u8;
    let length = visit.frame;
    // SAFETY: HEADERS bytes from `frame` are in bounds.
    unsafe {
        store(frame, eth::DST, course.ethernet[0]);
        store(frame, eth::DST + 8, course.ethernet[1] as u32);
        store(frame, eth::TYPE, (course.ethernet[1] >> 32) as u16);
        store(frame, ip::VERSION, u16::from(VERSION_AND_IHL));
        store(frame, ip::TOTAL, (length - eth::LEN as u16).to_be());
        store(frame, ip::ID, visit.id);
        store(frame, ip::FRAGMENT, DONT_FRAGMENT);
        store(frame, ip::TTL, TTL_AND_UDP);
        store(frame, ip::CHECKSUM, visit.ip_checksum);
        store(frame, ip::SRC, course.src);
        store(frame, ip::DST, visit.dst);
        store(frame, udp::SPORT, visit.ports);
        store(frame, udp::LENGTH, (length - (HEADERS - udp::LEN) as u16).to_be());
        store(frame, udp::CHECKSUM, visit.udp_checksum);
    }
    Some(RIG_TARGETS.redirect(course.target, 0).unwrap_or(XDP_ABORTED))
}

/// Writes a field byte by byte, which is what the BPF target makes of an unaligned write. The committed figures of the
/// rig were measured with it; [`crate::frame::store`] is faster, and would move them.
///
/// # Safety
/// `base + offset` is the start of a `T` within the frame.
#[inline(always)]
unsafe fn store<T>(base: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().write_unaligned(value) }
}
