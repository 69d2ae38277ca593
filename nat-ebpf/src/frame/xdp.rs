//! Frames as XDP programs get them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_ABORTED, XDP_DROP, XDP_PASS, XDP_TX},
        xdp_md,
    },
    helpers::generated::{
        bpf_xdp_adjust_head, bpf_xdp_adjust_meta, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len,
        bpf_xdp_load_bytes,
    },
};
use nat_common::{Addr, checksum, handover::Handover, hop::NextHop, settings::Settings};
use network_types::eth::EthHdr;

use super::view::{Change, Frame, Kind, View, Wire};
use crate::maps;

/// A frame that an XDP program was given.
#[derive(Clone, Copy)]
pub struct Xdp(*mut xdp_md);

impl Xdp {
    /// From the context of a program.
    #[inline(always)]
    pub fn new(context: *mut xdp_md) -> Self {
        Self(context)
    }

    /// Address of the metadata in front of the frame.
    #[inline(always)]
    fn metadata(self) -> usize {
        // SAFETY: a valid context.
        unsafe { (*self.0).data_meta as usize }
    }
}

impl View for Xdp {
    type Context = xdp_md;

    const KIND: Kind = Kind::Xdp;
    const LINK: usize = EthHdr::LEN;

    #[inline(always)]
    fn context(self) -> *mut c_void {
        self.0.cast()
    }

    #[inline(always)]
    fn start(self) -> usize {
        // SAFETY: a valid context.
        unsafe { (*self.0).data as usize }
    }

    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: a valid context.
        unsafe { (*self.0).data_end as usize }
    }

    /// Out of line: the fast path asks only for frames of several buffers.
    #[inline(never)]
    fn len(self) -> u32 {
        // SAFETY: a valid context.
        unsafe { bpf_xdp_get_buff_len(self.0) as u32 }
    }

    #[inline(always)]
    fn ingress(self) -> u32 {
        // SAFETY: a valid context.
        unsafe { (*self.0).ingress_ifindex }
    }
}

impl Frame for Xdp {
    const DROP: u32 = XDP_DROP;
    const PASS: u32 = XDP_PASS;

    /// The parser looks for frames of several buffers by itself.
    #[inline(always)]
    fn pull_headers(self, _most: usize) {}

    /// A tag that the device takes off is not told (`host/offloads.rs` turns that off).
    #[inline(always)]
    fn tag_beside(self) -> Option<u16> {
        None
    }

    #[inline(always)]
    fn pop_tags(self, _tags: usize) -> Option<bool> {
        None
    }

    #[inline(always)]
    fn is_anothers(self) -> bool {
        false
    }

    #[inline(always)]
    fn total(self, total: u16) -> u32 {
        u32::from(total)
    }

    #[inline(always)]
    fn gso_size(self) -> u32 {
        0
    }

    #[inline(always)]
    fn wire(self, len: u32) -> Wire {
        Wire { packets: 1, bytes: u64::from(len) }
    }

    #[inline(always)]
    fn move_start(self, bytes: i32) -> bool {
        // SAFETY: a valid context.
        unsafe { bpf_xdp_adjust_head(self.0, bytes) == 0 }
    }

    #[inline(always)]
    fn cut_to(self, len: u32) -> bool {
        // SAFETY: a valid context, with a frame of the length that it says.
        unsafe {
            let longer = bpf_xdp_get_buff_len(self.0) as i32 - len as i32;
            longer <= 0 || bpf_xdp_adjust_tail(self.0, -longer) == 0
        }
    }

    #[inline(always)]
    unsafe fn copy(self, from: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: a valid context; for the rest, the caller's promise.
        unsafe { bpf_xdp_load_bytes(self.0, from, to.cast(), len) == 0 }
    }

    #[inline(always)]
    fn hand_over(self, to: NextHop) -> Option<u32> {
        action(leave_to_guard(self, to.ifindex, to.addr.be))
    }

    #[inline(always)]
    fn send(self, egress: u16) -> Option<u32> {
        match maps::redirect(egress) {
            Ok(action) => Some(action),
            Err(_) => self.send_whole(egress),
        }
    }

    /// By the ingress guard, which sends it as the kernel would send a packet of its own: out of any device.
    #[inline(always)]
    fn send_whole(self, egress: u16) -> Option<u32> {
        action(send_by_guard(self, egress))
    }

    /// What XDP sends meets no guard.
    #[inline(always)]
    fn vouch(self) {}

    #[inline(always)]
    fn send_back(self) -> u32 {
        XDP_TX
    }

    #[inline(always)]
    unsafe fn adjust_checksum(
        self,
        field: *mut u8,
        _at: u32,
        change: impl Change,
        optional: bool,
    ) -> Option<bool> {
        let delta = change.whole();
        #[expect(clippy::cast_ptr_alignment, reason = "the verifier does not ask for alignment in packets")]
        let field = field.cast::<u16>();
        // SAFETY: the caller's promise.
        unsafe {
            let old = field.read();
            field.write(if optional { checksum::apply_udp(old, delta) } else { checksum::apply(old, delta) });
        }
        Some(false)
    }

    /// XDP is not told: what comes by such a device is for the twin.
    #[inline(always)]
    fn is_partial(self, _at: u32) -> bool {
        false
    }

    /// Every device with XDP has Ethernet headers.
    #[inline(always)]
    fn put_link(self, _macs: [u32; 3]) -> bool {
        false
    }
}

/// What a function out of line returns instead of an action that it could not take. An `Option` would be returned in memory, on a
/// stack that has no room for it.
const NONE: u32 = XDP_ABORTED;

#[inline(always)]
fn action(number: u32) -> Option<u32> {
    if number == NONE { None } else { Some(number) }
}

#[inline(never)]
fn send_by_guard(frame: Xdp, egress: u16) -> u32 {
    let to = Handover::addressed(maps::ifindex(egress));
    if to == Handover::KERNEL { NONE } else { leave_to_guard(frame, to.ifindex, to.addr.be) }
}

/// Passes the frame, with a [`Handover`] in front of it for the ingress guard.
#[inline(never)]
fn leave_to_guard(frame: Xdp, ifindex: u32, addr: u32) -> u32 {
    let Some(settings) = maps::settings() else { return NONE };
    // SAFETY: a valid context. Packet pointers are read anew below.
    if unsafe { bpf_xdp_adjust_meta(frame.0, -(size_of::<Handover>() as i32)) } != 0 {
        return leave_to_kernel(frame, settings);
    }
    let (meta, data) = (frame.metadata(), frame.start());
    if meta + size_of::<Handover>() > data {
        return NONE;
    }
    let to = NextHop { ifindex, addr: Addr { be: addr } };
    // SAFETY: that many bytes from `meta` are in bounds.
    unsafe { (meta as *mut Handover).write(Handover { mark: settings.handover_mark(), to }) };
    XDP_PASS
}

/// Drivers without room for metadata (tun, ENA) leave the kernel to forward the packet. The mark is then an Ethernet address that
/// was drawn for this and that nobody can see, and the frame is for this station, whatever it was addressed to.
#[inline(always)]
fn leave_to_kernel(frame: Xdp, settings: &Settings) -> u32 {
    let Some(iface) = maps::iface(frame.ingress()) else { return NONE };
    let start = frame.start();
    if start + Xdp::LINK > frame.end() {
        return NONE;
    }
    // SAFETY: an Ethernet header is in bounds; its receiver's address is at 0, its sender's at 6.
    unsafe {
        (start as *mut [u8; 6]).write(iface.mac);
        ((start + 6) as *mut [u8; 6]).write(settings.handover_sender());
    }
    XDP_PASS
}
