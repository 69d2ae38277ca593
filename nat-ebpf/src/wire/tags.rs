//! VLAN tags (IEEE 802.1Q). A priority tag, of VLAN 0, only carries a priority: it is taken off, and the frame is treated as
//! if it had never been there. A tag of another VLAN makes the frame that VLAN's: the kernel gives it to the interface of that
//! VLAN, where natgw or the host decides, or drops it when there is none (net/core/dev.c, `__netif_receive_skb_core`).
//!
//! Linux takes off any number of tags. What has more of them than natgw looks through is dropped.

use aya_ebpf::{
    bindings::{
        xdp_action::{XDP_DROP, XDP_PASS},
        xdp_md,
    },
    helpers::generated::bpf_xdp_adjust_head,
    programs::XdpContext,
};
use nat_common::{PassReason, Reason};

use crate::{
    verdict, wire::packet::ETHERNET, wire::packet::ETHERTYPE_IPV4, wire::packet::is_vlan, wire::packet::load,
    wire::packet::store,
};

/// Tags that natgw looks through.
pub const MOST_TAGS: usize = 4;

/// Bytes of a tag.
pub const VLAN: usize = 4;

/// VLAN identifier in a tag's control information, network byte order.
pub const VID: u16 = 0x0fffu16.to_be();

/// [`decide`]: the frame is untagged IPv4 now, and pointers into it are to be made anew.
pub const UNTAGGED: u32 = u32::MAX;

/// Decides about a frame whose first ethertype is not IPv4, or that is too short for IPv4: an XDP action, counted, or
/// [`UNTAGGED`].
#[inline(always)]
pub fn decide(ctx: &XdpContext) -> u32 {
    tags_decide(ctx.ctx)
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tags_decide(ctx: *mut xdp_md) -> u32 {
    let context = XdpContext::new(ctx);
    let (start, end) = (context.data(), context.data_end());
    if start + ETHERNET > end {
        return verdict::unparsed(Reason::BadHeader);
    }
    let mut at = start + ETHERNET;
    for tags in 0..=MOST_TAGS {
        // SAFETY: the ethertype before `at` is in bounds: checked above, and below with every tag.
        let ethertype: u16 = unsafe { load((at - 2) as *mut u8, 0) };
        if ethertype == ETHERTYPE_IPV4 {
            // Without a tag: too short, or `packet::parse` would not have asked.
            return if tags == 0 { verdict::unparsed(Reason::BadHeader) } else { take_off(&context, tags) };
        }
        if !is_vlan(ethertype) {
            return verdict::pass(PassReason::NotIpv4);
        }
        if at + VLAN > end {
            return verdict::unparsed(Reason::BadHeader);
        }
        // SAFETY: VLAN bytes from `at` are in bounds.
        if unsafe { load::<u16>(at as *mut u8, 0) } & VID != 0 {
            return verdict::pass(PassReason::OtherVlan);
        }
        at += VLAN;
    }
    verdict::unparsed(Reason::Vlan)
}

/// Takes the first `tags` tags off.
#[inline(always)]
fn take_off(ctx: &XdpContext, tags: usize) -> u32 {
    let start = ctx.data();
    if start + ETHERNET > ctx.data_end() {
        return XDP_DROP;
    }
    // SAFETY: ETHERNET bytes are in bounds.
    let macs: [u32; 3] = unsafe { load(start as *mut u8, 0) };
    // SAFETY: a valid context. Pointers are made anew below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, (tags * VLAN) as i32) } != 0 {
        return verdict::unparsed(Reason::BadHeader);
    }
    let start = ctx.data();
    if start + ETHERNET > ctx.data_end() {
        return verdict::unparsed(Reason::BadHeader);
    }
    // SAFETY: ETHERNET bytes are in bounds.
    unsafe { store(start as *mut u8, 0, macs) };
    UNTAGGED
}

const _: () = assert!(UNTAGGED != XDP_DROP && UNTAGGED != XDP_PASS);
