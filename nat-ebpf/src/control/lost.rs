//! Counts packets that were counted as sent and then lost: the kernel tells of them by tracepoints after the program has ended.
//!
//! Tracepoints are the whole system's. A device is this gateway's if it is in the gateway's network namespace and managed.
//! Nothing but natgw's program can have sent a frame on from there, since an interface has one XDP program. The counters of
//! this CPU are safe to write: these tracepoints fire in the softirq that ran the program, after it.

use core::ffi::c_void;

use aya_ebpf::{
    Argument, bindings::bpf_map_type::BPF_MAP_TYPE_DEVMAP, helpers::generated::bpf_probe_read_kernel,
    programs::RawTracePointContext,
};
use nat_common::{
    Reason, Side,
    hop::{Iface, MAX_INTERFACES},
    lost::Lost,
    stats::Meter,
};

use crate::{maps, report::stats};

/// `XDP_TX` of `enum xdp_action`, as `xdp_exception` tells it.
const TX: u32 = aya_ebpf::bindings::xdp_action::XDP_TX;

/// `xdp_redirect_err(dev, xdp, tgt, err, map_type, map_id, index)`: `XDP_REDIRECT` was not carried out.
#[inline(always)]
pub fn refused(context: &RawTracePointContext) {
    // natgw redirects through its device map only; then `index` is the number of the egress interface.
    let (kind, number): (u32, u32) = (context.arg(4), context.arg(6));
    if kind != BPF_MAP_TYPE_DEVMAP || managed(device(context, 0)).is_none() || number >= MAX_INTERFACES {
        return;
    }
    let Some(to) = maps::iface(maps::ifindex(number as u16)) else { return };
    count(to, 1, |lost| &mut lost.refused);
}

/// `xdp_devmap_xmit(from_dev, to_dev, sent, drops, err)`: a driver took frames, and perhaps not all of them.
#[inline(always)]
pub fn dropped(context: &RawTracePointContext) {
    // First: all others are of no interest, and are what happens thousands of times a second.
    let drops: i32 = context.arg(3);
    if drops <= 0 || managed(device(context, 0)).is_none() {
        return;
    }
    if let Some(to) = managed(device(context, 1)) {
        count(to, drops as u64, |lost| &mut lost.dropped);
    }
}

/// `xdp_exception(dev, xdp, act)`: an action was not carried out. Drivers tell so of redirects too, which [`refused`] counts.
#[inline(always)]
pub fn not_sent_back(context: &RawTracePointContext) {
    let action: u32 = context.arg(2);
    if action != TX {
        return;
    }
    if let Some(to) = managed(device(context, 0)) {
        count(to, 1, |lost| &mut lost.back);
    }
}

/// A `struct net_device` of the kernel's that a tracepoint tells.
#[inline(always)]
fn device(context: &RawTracePointContext, argument: usize) -> u64 {
    context.arg(argument)
}

/// The managed interface that a device of the kernel's is.
#[inline(always)]
fn managed(device: u64) -> Option<&'static Iface> {
    let [ifindex_at, net_at, inode_at, namespace] = maps::lost_at();
    let net: u64 = read(device + u64::from(net_at))?;
    let inode: u32 = read(net + u64::from(inode_at))?;
    if inode != namespace {
        return None;
    }
    maps::iface(read(device + u64::from(ifindex_at))?)
}

/// What the kernel has at an address; `None` where it has nothing.
#[inline(always)]
fn read<T: Argument + Default>(at: u64) -> Option<T> {
    let mut value = T::default();
    // SAFETY: the helper writes as many bytes as `value` has, and takes whatever address it is given.
    let result = unsafe {
        bpf_probe_read_kernel((&raw mut value).cast::<c_void>(), size_of::<T>() as u32, at as *const c_void)
    };
    (result == 0).then_some(value)
}

/// They were counted as sent by this interface. Nobody knows which way packets went that a one-armed gateway lost; they are
/// taken for outbound ones.
#[inline(always)]
fn count(to: &Iface, packets: u64, field: impl FnOnce(&mut Lost) -> &mut u64) {
    if let Some(lost) = maps::lost(u32::from(to.devmap)) {
        *field(lost) += packets;
    }
    let sent = if to.side == Side::INSIDE { Meter::SourceOut } else { Meter::DestinationOut };
    stats::count(|s| {
        s.lost[sent as usize] += packets;
        s.drops[Reason::RedirectError as usize] += packets;
    });
}
