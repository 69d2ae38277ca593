//! The tc guards: what holds "no leak" and "no unsolicited inbound" when the XDP program is not there.
//!
//! What they do not stop is `TC_ACT_UNSPEC`: `TC_ACT_OK` would end the hook, and with it the programs of others.

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    programs::TcContext,
};
use nat_common::{Addr, Reason, abi::HANDOVER_MARK};

use crate::{maps, stats};

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_VLAN: u16 = 0x8100;
const ETHERTYPE_QINQ: u16 = 0x88a8;
const ETHERNET: usize = 14;
const VLAN: usize = 4;

/// Nothing with an inside source leaves an outside interface, nor anything that entered by a managed interface
/// and was not translated, but for exempt destinations.
#[inline(always)]
pub fn egress(ctx: &TcContext) -> i32 {
    let Some((src, dst)) = addresses(ctx) else { return TC_ACT_UNSPEC };
    // One wire is inside too: what is for an inside address is not leaving.
    if maps::is_exempt(dst) || (maps::is_one_armed() && maps::pool(dst).is_some()) {
        return TC_ACT_UNSPEC;
    }
    if maps::pool(src).is_some() || (was_forwarded(ctx) && maps::eip(src).is_none()) {
        return shot();
    }
    TC_ACT_UNSPEC
}

/// Nothing for an inside destination, nor for an EIP that is not the host's own address, enters by an outside
/// interface, but what natgw itself hands over, and answers from exempt destinations.
#[inline(always)]
pub fn ingress(ctx: &TcContext) -> i32 {
    let Some((src, dst)) = addresses(ctx) else { return TC_ACT_UNSPEC };
    let is_dedicated = maps::eip(dst).is_some_and(|eip| eip.shared == 0);
    if is_dedicated {
        return if is_handover(ctx) { TC_ACT_UNSPEC } else { shot() };
    }
    if maps::pool(dst).is_none() || maps::is_exempt(src) || is_handover(ctx) {
        return TC_ACT_UNSPEC;
    }
    if maps::is_one_armed() && maps::pool(src).is_some() {
        return TC_ACT_UNSPEC;
    }
    shot()
}

/// Whether the packet entered by a managed interface, rather than being the host's own.
#[inline(always)]
fn was_forwarded(ctx: &TcContext) -> bool {
    // SAFETY: a valid context. 0: sent by this host (include/linux/skbuff.h, skb_iif).
    let ingress = unsafe { (*ctx.skb.skb).ingress_ifindex };
    ingress != 0 && maps::iface(ingress).is_some()
}

/// IPv4 source and destination, looking through up to two VLAN tags.
#[inline(always)]
fn addresses(ctx: &TcContext) -> Option<(Addr, Addr)> {
    let mut at = ETHERNET;
    let mut ethertype = u16::from_be(ctx.load::<u16>(12).ok()?);
    for _ in 0..2 {
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            break;
        }
        ethertype = u16::from_be(ctx.load::<u16>(at + 2).ok()?);
        at += VLAN;
    }
    if ethertype != ETHERTYPE_IPV4 {
        return None;
    }
    Some((Addr { be: ctx.load(at + 12).ok()? }, Addr { be: ctx.load(at + 16).ok()? }))
}

/// Whether the XDP program translated the packet and marked it as its own.
#[inline(always)]
fn is_handover(ctx: &TcContext) -> bool {
    // SAFETY: a valid context.
    let (meta, data) = unsafe { ((*ctx.skb.skb).data_meta as usize, (*ctx.skb.skb).data as usize) };
    if meta + size_of::<u32>() > data {
        return false;
    }
    // SAFETY: four bytes from `meta` are in bounds.
    unsafe { (meta as *const u32).read() == HANDOVER_MARK }
}

#[inline(always)]
fn shot() -> i32 {
    stats::drop(Reason::Guard);
    TC_ACT_SHOT
}
