//! Where a translated packet goes next: the FIB, asked once per flow and direction.

use core::mem::offset_of;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_NO_NEIGH, BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup,
    },
    helpers::generated::bpf_fib_lookup as fib_lookup,
    programs::XdpContext,
};
use nat_common::{
    Addr, EGRESS_KERNEL, HopStamp, Reason, Side, Tuple,
    hop::{HopSlot, NextHop},
};

use crate::{clock, fast::Way, flow::Flow, hops, maps, packet::Packet, scratch, stats};

const AF_INET: u8 = 2;

/// Resolutions by one CPU of which one looks at the daemon's list of next hops although nothing is new.
const NOTE_EVERY: u64 = 16;

/// A resolved (or unresolved) hop: the beginning of a [`HopSlot`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Hop {
    /// Slot and generation; [`HopStamp::UNRESOLVED`] when the next packet must ask again.
    pub stamp: HopStamp,
    /// Devmap index, or [`EGRESS_KERNEL`].
    pub egress: u16,
    /// Largest packet; 0 when not known.
    pub mtu: u16,
    /// Next hop's and egress interface's address, as the first three words of an Ethernet header.
    pub macs: [u32; 3],
}

const _: () = assert!(
    offset_of!(HopSlot, stamp) == offset_of!(Hop, stamp)
        && offset_of!(HopSlot, egress) == offset_of!(Hop, egress)
        && offset_of!(HopSlot, mtu) == offset_of!(Hop, mtu)
        && offset_of!(HopSlot, dmac) == offset_of!(Hop, macs)
        && offset_of!(HopSlot, smac) == offset_of!(HopSlot, dmac) + 6
);

impl Hop {
    /// Not asked yet.
    pub const UNRESOLVED: Self =
        Self { macs: [0; 3], egress: EGRESS_KERNEL, mtu: 0, stamp: HopStamp::UNRESOLVED };
}

/// What the FIB says about a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Reach {
    /// Out of a managed outside interface.
    Outside,
    /// Out of a managed inside interface.
    Inside,
    /// Out of a one-armed gateway's interface, or a device of the kernel's: either side may lie there.
    Either,
    /// This host, or nowhere: the kernel's to deliver or to answer.
    Host,
}

/// Asks the FIB about a translated tuple; fills `hop`, which is the one in the scratch space.
#[inline(never)]
pub fn resolve(ctx: &XdpContext, packet: &Packet, translated: &Tuple, hop: &mut Hop) -> Reach {
    *hop = Hop::UNRESOLVED;
    let Some(fib) = scratch::fib() else { return Reach::Host };
    let first = lookup(ctx, packet.tos, translated, 0, fib);
    if first != BPF_FIB_LKUP_RET_SUCCESS && first != BPF_FIB_LKUP_RET_NO_NEIGH {
        return Reach::Host;
    }
    let next = next_hop(fib);
    let (side, egress) = match maps::iface(next.ifindex) {
        Some(iface) => (iface.side, iface.devmap),
        None => (Side::ONEARM, EGRESS_KERNEL),
    };
    if first == BPF_FIB_LKUP_RET_SUCCESS {
        answered(fib, hop);
        hop.egress = egress;
        share(ctx, packet, translated, next, hop);
    } else {
        note();
        // No neighbour yet. Asking for the largest packet yields the MTU all the same.
        if lookup(ctx, packet.tos, translated, u16::MAX, fib) == BPF_FIB_LKUP_RET_FRAG_NEEDED {
            // SAFETY: as in `answered`.
            hop.mtu = unsafe { fib.__bindgen_anon_1.mtu_result };
        }
    }
    stats::count(|s| s.hops_resolved += 1);
    if hop.stamp != HopStamp::UNRESOLVED {
        note_now_and_then();
    }
    match side {
        Side::INSIDE => Reach::Inside,
        Side::OUTSIDE => Reach::Outside,
        _ => Reach::Either,
    }
}

/// Finds the slot that says what the FIB just said, or makes one say it; `hop` is unresolved when that cannot be now.
#[inline(never)]
fn share(ctx: &XdpContext, packet: &Packet, translated: &Tuple, next: NextHop, hop: &mut Hop) {
    let slot = hops::slot(&next, hop.mtu);
    // If the neighbour changed after it was asked for, its slot's stamp is about to be bumped.
    if let Some(stamp) = hops::agrees(slot, &next) {
        hop.stamp = stamp;
        return;
    }
    note();
    let (egress, mtu) = (hop.egress, hop.mtu);
    *hop = Hop { mtu, ..Hop::UNRESOLVED };
    let Some(held) = hops::hold(slot, &next) else { return };
    // The new generation must be there before the lookup whose answer it stands for: a change in between would
    // otherwise go unnoticed.
    let Some(fib) = scratch::fib() else { return hops::abandon(slot, held, mtu) };
    if lookup(ctx, packet.tos, translated, 0, fib) != BPF_FIB_LKUP_RET_SUCCESS {
        return hops::abandon(slot, held, mtu);
    }
    let again = next_hop(fib);
    // A route that changed between the two lookups belongs to another slot: ask again next time.
    if again.ifindex != next.ifindex || again.addr != next.addr {
        return hops::abandon(slot, held, mtu);
    }
    answered(fib, hop);
    hop.egress = egress;
    hop.stamp = held;
    hops::fill(slot, held);
}

/// Notes the next hop that was just found for the daemon. Out of line: the key's place on the stack is gone again before
/// anybody goes deeper.
#[inline(never)]
fn note() {
    if let Some(fib) = scratch::fib() {
        maps::note_next_hop(&next_hop(fib), clock::now());
    }
}

/// The same for one that was noted when it was new: now and then it is worth a look, so that it stays young.
#[inline(never)]
fn note_now_and_then() {
    if stats::hops_resolved().is_multiple_of(NOTE_EVERY) {
        note();
    }
}

/// Takes the addresses and the MTU of a successful lookup.
#[inline(always)]
fn answered(fib: &bpf_fib_lookup, hop: &mut Hop) {
    hop.macs = bytemuck::cast([fib.dmac, fib.smac]);
    // SAFETY: both variants of the union are the same u16; the kernel wrote mtu_result on success.
    hop.mtu = unsafe { fib.__bindgen_anon_1.mtu_result };
}

/// One FIB lookup; the kernel's answer. `fib` holds what it found.
#[inline(always)]
fn lookup(ctx: &XdpContext, tos: u8, translated: &Tuple, tot_len: u16, fib: &mut bpf_fib_lookup) -> u32 {
    // SAFETY: plain data, for which all-zero is valid.
    *fib = unsafe { core::mem::zeroed() };
    fib.family = AF_INET;
    fib.l4_protocol = translated.proto;
    fib.sport = translated.sport.be;
    fib.dport = translated.dport.be;
    fib.__bindgen_anon_1.tot_len = tot_len;
    fib.__bindgen_anon_2.tos = tos;
    fib.__bindgen_anon_3.ipv4_src = translated.src.be;
    fib.__bindgen_anon_4.ipv4_dst = translated.dst.be;
    fib.ifindex = ctx.ingress_ifindex() as u32;
    // SAFETY: a valid context, and parameters of the size given. Errors are negative and match no answer.
    unsafe { fib_lookup(ctx.ctx.cast(), fib, size_of::<bpf_fib_lookup>() as i32, 0) as u32 }
}

#[inline(always)]
fn next_hop(fib: &bpf_fib_lookup) -> NextHop {
    // SAFETY: the kernel leaves the gateway (or the destination, on link) here: net/core/filter.c,
    // bpf_ipv4_fib_lookup.
    NextHop { ifindex: fib.ifindex, addr: Addr { be: unsafe { fib.__bindgen_anon_4.ipv4_dst } } }
}

/// Where a hit goes that the fast path would not send: stale hop, TTL, size, or a device of the kernel's. The hop is
/// then in the scratch space.
#[inline(never)]
pub fn way(ctx: &XdpContext, packet: &Packet, flow: Flow) -> Way {
    let Some(hop) = scratch::hop() else { return Way::Not(stats::drop(Reason::NoRoute)) };
    let outbound = flow.is_outbound();
    let stamp = flow.hop();
    *hop = Hop::UNRESOLVED;
    if let Some(current) = hops::current(stamp) {
        *hop = current.read();
    }
    // It may have changed while it was read.
    if hop.stamp != stamp || hops::current(stamp).is_none() {
        let translated = flow.entry().translated(&packet.tuple);
        // When an inside network's route is gone, the default route leads outside: what is for an inside host
        // must not go there.
        let astray = if outbound { Reach::Inside } else { Reach::Outside };
        let reach = resolve(ctx, packet, &translated, hop);
        if reach == Reach::Host || reach == astray {
            return Way::Not(stats::drop(Reason::NoRoute));
        }
        flow.set_hop(stamp, hop.stamp);
        // That was a long time ago for the place to be another flow's by now (an undone birth's goes at once): it must not
        // keep a hop that is not its own. Unresolved is right for anybody.
        if !flow.is_still(&packet.tuple) {
            flow.set_hop(hop.stamp, HopStamp::UNRESOLVED);
            return Way::Not(stats::drop(Reason::Expired));
        }
    }
    way_of(packet, outbound, hop.mtu, hop.egress)
}

/// The same for a hop that is known.
#[inline(always)]
pub fn way_of(packet: &Packet, outbound: bool, mtu: u16, egress: u16) -> Way {
    if packet.ttl <= 1 {
        // Outbound, the kernel's time-exceeded tells the client. Inbound it would tell the internet, about
        // an inside address.
        return Way::Not(if outbound { stats::pass() } else { stats::drop(Reason::Ttl) });
    }
    if mtu != 0 && packet.len > u32::from(mtu) {
        if packet.df == 0 {
            return Way::Handover;
        }
        return Way::Not(if outbound { stats::pass() } else { stats::drop(Reason::Mtu) });
    }
    if egress == EGRESS_KERNEL { Way::Handover } else { Way::Forward }
}
