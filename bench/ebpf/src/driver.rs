//! Makes a new packet of the frame and hands it to the program under test.
//!
//! `BPF_PROG_TEST_RUN` repeats a program on one buffer, as the last run left it. The driver goes first on every
//! repeat: it takes the next visit of a list, writes every header field that a gateway changes, and tail-calls.
//! The list is read in order, so the prefetcher hides it; its *contents* are shuffled, so the table under test
//! is visited at random, and a flow comes again only after all others.

use aya_ebpf::{
    bindings::{BPF_F_MMAPABLE, xdp_action::XDP_ABORTED},
    btf_maps::{Array, ProgramArray},
    macros::{btf_map, xdp},
    programs::XdpContext,
};

use nat_bench_ebpf::layout::driver::{HEAD, Job, Visit};

#[btf_map]
static DRIVER_VISITS: Array<Visit, 4096, { BPF_F_MMAPABLE as usize }> = Array::new();
#[btf_map]
static DRIVER_JOB: Array<Job, 1> = Array::new();
#[btf_map]
static DRIVER_TARGET: ProgramArray<1> = ProgramArray::new();

/// Offsets in a job are below this: lets the verifier bound them.
const OFFSET_MASK: usize = 127;

/// The next packet, to the program under test.
#[xdp(frags)]
pub fn bench_driver(ctx: XdpContext) -> u32 {
    drive(&ctx, false)
}

/// The same, and keeps what became of the packet before, which is still in the frame.
#[xdp(frags)]
pub fn bench_harvest(ctx: XdpContext) -> u32 {
    drive(&ctx, true)
}

/// Never returns unless something is wrong: `XDP_ABORTED` is no program's answer here.
#[inline(always)]
fn drive(ctx: &XdpContext, harvests: bool) -> u32 {
    let Some(job) = DRIVER_JOB.get_ptr_mut(0) else { return XDP_ABORTED };
    // SAFETY: an array element; nobody else runs the driver, and userspace writes it between runs.
    let job = unsafe { &mut *job };
    let index = job.next;
    let Some(visit) = DRIVER_VISITS.get(index) else { return XDP_ABORTED };
    if harvests {
        let before = if index == job.first { job.end } else { index }.wrapping_sub(1);
        if let Some(place) = DRIVER_VISITS.get_ptr_mut(before.wrapping_add(job.harvest))
            && let Some(became) = current(ctx, job)
        {
            // SAFETY: an array element, and not the one that `visit` borrows: lists do not overlap.
            unsafe { place.write(became) };
        }
    }
    job.next = if index + 1 >= job.end { job.first } else { index + 1 };
    if !restore(ctx, job) || !write(ctx, job, visit) {
        return XDP_ABORTED;
    }
    // SAFETY: does not return; nothing here has a destructor.
    unsafe { DRIVER_TARGET.tail_call(ctx, 0) };
    XDP_ABORTED
}

/// A field of the frame at a variable offset, if it is within.
#[inline(always)]
fn field<T>(ctx: &XdpContext, offset: usize) -> Option<*mut T> {
    let at = ctx.data() + (offset & OFFSET_MASK);
    if at + size_of::<T>() > ctx.data_end() {
        return None;
    }
    Some(at as *mut T)
}

/// Writes back the head of the frame.
#[inline(always)]
fn restore(ctx: &XdpContext, job: &Job) -> bool {
    let Some(head) = field::<[u64; HEAD / 8]>(ctx, 0) else { return false };
    // SAFETY: in bounds; packets may be accessed at any alignment.
    unsafe { head.write(job.head) };
    true
}

/// Writes what belongs to the visit. Each field whole and on its own, as gateways read them: a load that spans two
/// stores would have to wait for both.
#[inline(always)]
fn write(ctx: &XdpContext, job: &Job, visit: &Visit) -> bool {
    // One check, one branch: the verifier loses track of conditions that are put together.
    let Some(ip) = field::<[u16; 5]>(ctx, job.addresses_at as usize - 2) else { return false };
    let Some(ports) = field::<u32>(ctx, job.ports_at as usize) else { return false };
    let Some(l4_checksum) = field::<u16>(ctx, job.l4_checksum_at as usize) else { return false };
    // SAFETY: ten bytes from `ip`, and the other two fields, are in bounds; packets may be accessed at any alignment.
    unsafe {
        store(ip, 0, visit.ip_checksum);
        store(ip, 2, visit.src);
        store(ip, 6, visit.dst);
        ports.write(visit.ports);
        l4_checksum.write(visit.l4_checksum);
    }
    true
}

/// # Safety
/// `offset` bytes behind `base` is the start of a `T` within the frame.
#[inline(always)]
unsafe fn store<T>(base: *mut [u16; 5], offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.byte_add(offset).cast::<T>().write(value) }
}

/// Addresses and ports that the frame has now.
#[inline(always)]
fn current(ctx: &XdpContext, job: &Job) -> Option<Visit> {
    let addresses = field::<[u32; 2]>(ctx, job.addresses_at as usize)?;
    let ports = field::<u32>(ctx, job.ports_at as usize)?;
    // SAFETY: both are in bounds.
    let ([src, dst], ports) = unsafe { (addresses.read(), ports.read()) };
    Some(Visit { src, dst, ports, ip_checksum: 0, l4_checksum: 0 })
}
