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

const HEADERS: usize = 42;
/// Length of every frame of a mix before it is cut.
const LONGEST: i32 = 1514;

/// A packet to send: what differs from one to the next, as it stands in the packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Visit {
    /// Destination address.
    dst: u32,
    /// Source port and destination port.
    ports: u32,
    /// IPv4 identification.
    id: u16,
    /// Of the IPv4 header.
    ip_checksum: u16,
    /// Of the UDP datagram, whose payload is zeros.
    udp_checksum: u16,
    /// Length of the frame, host order.
    frame: u16,
}

/// Where the generator is in its list.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Course {
    /// Index of the next visit.
    next: u32,
    /// Length of the list.
    visits: u32,
    /// Index in [`RIG_TARGETS`] of the interface to send from.
    target: u32,
    /// Source address of every packet, as it stands in the packet.
    src: u32,
    /// Packets made.
    made: u64,
    /// Destination and source Ethernet address of every packet, then the IPv4 ethertype and two zero bytes.
    ethernet: [u64; 2],
}

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
    // SAFETY: HEADERS bytes from `frame` are in bounds. The verifier does not ask for alignment in packets here.
    unsafe {
        store(frame, 0, course.ethernet[0]);
        store(frame, 8, course.ethernet[1] as u32);
        // Ethertype (the 13th and 14th byte), version and header length, TOS.
        store(frame, 12, (course.ethernet[1] >> 32) as u16);
        store(frame, 14, 0x0045u16);
        store(frame, 16, (length - 14).to_be());
        store(frame, 18, visit.id);
        // Don't fragment; TTL 64; UDP.
        store(frame, 20, 0x4000u16.to_be());
        store(frame, 22, 64 | 17u16 << 8);
        store(frame, 24, visit.ip_checksum);
        store(frame, 26, course.src);
        store(frame, 30, visit.dst);
        store(frame, 34, visit.ports);
        store(frame, 38, (length - 34).to_be());
        store(frame, 40, visit.udp_checksum);
    }
    Some(RIG_TARGETS.redirect(course.target, 0).unwrap_or(XDP_ABORTED))
}

/// # Safety
/// `base + offset` is the start of a `T` within the frame.
#[inline(always)]
unsafe fn store<T>(base: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().write_unaligned(value) }
}
