//! The tc guards: what holds "no leak" and "no unsolicited inbound" for everything that the kernel gets, also when the XDP
//! program is not there. The ingress guard is on every managed interface, the egress guard on outside ones.
//!
//! What they do not stop is `TC_ACT_UNSPEC`: `TC_ACT_OK` would end the hook, and with it the programs of others.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC},
    programs::TcContext,
};
use nat_common::{Addr, Proto, Reason, Side, Tuple, abi::HANDOVER_MARK, hop::Iface, icmp};

use crate::{
    hop::handover, kernel::fib, kernel::fib::Route, maps, policy::ping, policy::source,
    policy::source::Kernel, report::stats, wire::options, wire::packet::ETHERNET,
    wire::packet::ETHERTYPE_IPV4, wire::packet::IPV4_MIN, wire::packet::is_vlan, wire::tags::MOST_TAGS,
    wire::tags::VID, wire::tags::VLAN, work,
};

/// `PACKET_HOST`: for this station (`include/uapi/linux/if_packet.h`).
const FOR_THIS_STATION: u32 = 0;
/// `PACKET_OTHERHOST`: for another one. The kernel drops it, or an interface on top of this one takes it.
const FOR_ANOTHER_STATION: u32 = 3;

/// What a frame turned out to be.
enum Frame {
    /// IPv4, with priority tags or none.
    Ipv4(Tuple),
    /// Not IPv4, or of a VLAN, whose own interface decides.
    Foreign,
    /// More tags than are looked through, too short, or with a source route.
    Unclassified,
}

/// No frame leaves outside with an inside source, nor with an EIP that natgw did not give it, nor untranslated after it came
/// by a managed interface; but for exempt destinations. Nor does an ICMP error of the host's that quotes an inside address.
#[inline(always)]
pub fn egress(ctx: &TcContext) -> i32 {
    let tuple = match classify(ctx) {
        Frame::Ipv4(tuple) => tuple,
        Frame::Foreign => return TC_ACT_UNSPEC,
        Frame::Unclassified => return shot(),
    };
    let Tuple { src, dst, .. } = tuple;
    let came_by = came_by(ctx);
    let is_for_inside = maps::pool(dst).is_some();
    // What natgw handed over was translated: the kernel's error about it is about a packet that its sender never sent.
    if came_by.is_none() && !is_for_inside && quotes_inside(ctx) {
        return shot();
    }
    if let Some(eip) = maps::eip(src) {
        // Translated and handed over: the ingress guard let nobody else's packet with an EIP for a source in.
        let is_natgws = came_by.is_some_and(|iface| iface.side != Side::OUTSIDE);
        let is_hosts = eip.shared != 0 && came_by.is_none();
        if is_hosts {
            ping::note(ctx, src, dst);
        }
        return if is_natgws || is_hosts { TC_ACT_UNSPEC } else { shot() };
    }
    // One wire is inside too: what goes to a host or a router with an inside address is not leaving.
    if maps::is_exempt(dst) || (maps::is_one_armed() && is_for_inside && next_is_inside(ctx, &tuple)) {
        return TC_ACT_UNSPEC;
    }
    if came_by.is_some() || maps::pool(src).is_some() { shot() } else { TC_ACT_UNSPEC }
}

/// The kernel gets what natgw hands over, and what is for this host or exempt, with a source that can be genuine.
#[inline(always)]
pub fn ingress(ctx: &TcContext) -> i32 {
    // SAFETY: a valid context.
    let (ifindex, station) = unsafe { ((*ctx.skb.skb).ifindex, (*ctx.skb.skb).pkt_type) };
    let Some(iface) = maps::iface(ifindex) else { return TC_ACT_UNSPEC };
    if station == FOR_ANOTHER_STATION {
        return TC_ACT_UNSPEC;
    }
    let tuple = match classify(ctx) {
        Frame::Ipv4(tuple) => tuple,
        Frame::Foreign => return TC_ACT_UNSPEC,
        Frame::Unclassified => return shot(),
    };
    if is_handover(ctx) {
        return TC_ACT_UNSPEC;
    }
    let is_inside = match iface.side {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => maps::pool(tuple.src).is_some(),
    };
    let guarded = Guarded { ctx: ctx.skb.skb.cast(), ifindex, iface, tuple, station };
    let passes = if is_inside { guarded.passes_from_inside() } else { guarded.passes_from_outside() };
    if passes == Some(true) { TC_ACT_UNSPEC } else { shot() }
}

/// A packet that the kernel is about to get.
struct Guarded {
    ctx: *mut c_void,
    ifindex: u32,
    iface: &'static Iface,
    tuple: Tuple,
    station: u32,
}

impl Guarded {
    /// Whether the kernel may have it. `None`: a map is missing, which cannot be.
    #[inline(always)]
    fn passes_from_inside(&self) -> Option<bool> {
        let Tuple { src, dst, .. } = self.tuple;
        let pool = maps::pool(src);
        if pool.is_none() && maps::eip(src).is_some() {
            return Some(false);
        }
        if src == Addr::default() && dst.is_group() {
            return Some(true);
        }
        if !self.is_genuine()? {
            return Some(false);
        }
        if let Some(passes) = self.for_many_or_an_eip() {
            return Some(passes);
        }
        Some(match self.kernel()? {
            Kernel::Delivers => true,
            Kernel::Refuses => false,
            // Outside, the egress guard knows what is exempt, and lets nothing else with an inside source out.
            Kernel::Routes | Kernel::LeavesOutside => pool.is_some(),
            Kernel::Opens => pool.is_some() && maps::is_exempt(dst),
        })
    }

    /// The same.
    #[inline(always)]
    fn passes_from_outside(&self) -> Option<bool> {
        let Tuple { src, dst, .. } = self.tuple;
        let exempt = maps::is_exempt(src) && self.is_genuine()?;
        if !exempt && (maps::pool(src).is_some() || maps::eip(src).is_some()) {
            return Some(false);
        }
        if self.iface.side == Side::ONEARM && src != Addr::default() && !self.is_genuine()? {
            return Some(false);
        }
        if let Some(passes) = self.for_many_or_an_eip() {
            return Some(passes);
        }
        if maps::pool(dst).is_some() {
            return Some(exempt);
        }
        Some(self.kernel()? == Kernel::Delivers)
    }

    /// Whether it passes, when it is for more than one host, or for an EIP.
    #[inline(always)]
    fn for_many_or_an_eip(&self) -> Option<bool> {
        if source::is_for_everybody(self.iface, self.tuple.dst) {
            return Some(true);
        }
        // A unicast packet in a broadcast or multicast frame.
        if self.station != FOR_THIS_STATION {
            return Some(false);
        }
        maps::eip(self.tuple.dst).map(|eip| eip.shared != 0)
    }

    #[inline(always)]
    fn is_genuine(&self) -> Option<bool> {
        let fib = work::fib()?;
        Some(source::is_genuine(self.ctx, self.ifindex, self.iface, self.tuple.src, self.tuple.dst, fib))
    }

    #[inline(always)]
    fn kernel(&self) -> Option<Kernel> {
        let fib = work::fib()?;
        Some(source::kernel(self.ctx, self.ifindex, self.iface, &self.tuple, 0, fib))
    }
}

/// Whether the next hop of a packet that leaves has an inside address.
#[inline(always)]
fn next_is_inside(ctx: &TcContext, tuple: &Tuple) -> bool {
    // SAFETY: a valid context.
    let ifindex = unsafe { (*ctx.skb.skb).ifindex };
    let Some(fib) = work::fib() else { return false };
    match fib::route(ctx.skb.skb.cast(), ifindex, tuple, 0, fib) {
        Route::Resolved | Route::Unresolved => maps::pool(fib::next_hop(fib).addr).is_some(),
        // Forwarding is off: only the host itself sends.
        Route::Disabled => true,
        _ => false,
    }
}

/// Whether a packet is an ICMP error about one with an inside address.
#[inline(always)]
fn quotes_inside(ctx: &TcContext) -> bool {
    let is_inside = |at: usize| ctx.load(at).is_ok_and(|be| maps::pool(Addr { be }).is_some());
    let (Ok(ETHERTYPE_IPV4), Ok(first), Ok(proto)) =
        (ctx.load::<u16>(ETHERNET - 2), ctx.load::<u8>(ETHERNET), ctx.load::<u8>(ETHERNET + 9))
    else {
        return false;
    };
    let message = ETHERNET + usize::from(first & 0xf) * 4;
    let quoted = message + 8;
    proto == Proto::Icmp as u8
        && ctx.load::<u8>(message).is_ok_and(icmp::is_error)
        && (is_inside(quoted + 12) || is_inside(quoted + 16))
}

/// The managed interface that the packet came by; `None` when it is the host's own, or came by another one.
#[inline(always)]
fn came_by(ctx: &TcContext) -> Option<&'static Iface> {
    // SAFETY: a valid context. 0: sent by this host (include/linux/skbuff.h, skb_iif).
    let ingress = unsafe { (*ctx.skb.skb).ingress_ifindex };
    if ingress == 0 { None } else { maps::iface(ingress) }
}

/// Looks through priority tags as the XDP programs do. The kernel has taken the first tag off by now, and keeps it beside
/// the frame.
#[inline(always)]
fn classify(ctx: &TcContext) -> Frame {
    // SAFETY: a valid context.
    let (has_tag, tag) = unsafe { ((*ctx.skb.skb).vlan_present, (*ctx.skb.skb).vlan_tci) };
    if has_tag != 0 && tag & u32::from(u16::from_be(VID)) != 0 {
        return Frame::Foreign;
    }
    let mut at = ETHERNET;
    for _ in 0..=MOST_TAGS {
        let Ok(ethertype) = ctx.load::<u16>(at - 2) else { return Frame::Unclassified };
        if ethertype == ETHERTYPE_IPV4 {
            return match (ctx.load::<u8>(at), ctx.load(at + 12), ctx.load(at + 16)) {
                (Ok(first), Ok(src), Ok(dst)) if !has_source_route(ctx, at, first) => {
                    Frame::Ipv4(Tuple { src: Addr { be: src }, dst: Addr { be: dst }, ..Tuple::default() })
                }
                _ => Frame::Unclassified,
            };
        }
        if !is_vlan(ethertype) {
            return Frame::Foreign;
        }
        match ctx.load::<u16>(at) {
            Ok(tag) if tag & VID != 0 => return Frame::Foreign,
            Ok(_) => at += VLAN,
            Err(_) => return Frame::Unclassified,
        }
    }
    Frame::Unclassified
}

/// Whether the IPv4 header at `at`, whose first byte is `first`, carries a source route: `packet::has_source_route` tells more.
#[inline(always)]
fn has_source_route(ctx: &TcContext, at: usize, first: u8) -> bool {
    let header = usize::from(first & 0xf) * 4;
    if header <= IPV4_MIN {
        return false;
    }
    options::has_source_route((at + IPV4_MIN) as u32, (at + header) as u32, |at| {
        Some((ctx.load(at as usize).ok()?, ctx.load(at as usize + 1).ok()?))
    })
}

/// Whether the XDP program translated the packet and marked it as its own.
#[inline(always)]
fn is_handover(ctx: &TcContext) -> bool {
    // SAFETY: a valid context.
    let (meta, data) = unsafe { ((*ctx.skb.skb).data_meta as usize, (*ctx.skb.skb).data as usize) };
    if meta + size_of::<u32>() > data {
        return is_from_handover(ctx);
    }
    // SAFETY: four bytes from `meta` are in bounds.
    unsafe { (meta as *const u32).read() == HANDOVER_MARK }
}

/// Whether it is from the address that natgw uses for this where a driver has no room for the mark.
#[inline(always)]
fn is_from_handover(ctx: &TcContext) -> bool {
    let (Some(settings), Ok(sender)) = (maps::settings(), ctx.load::<[u8; 6]>(6)) else { return false };
    handover::sender(settings) == sender
}

#[inline(always)]
fn shot() -> i32 {
    stats::dropped(Reason::Guard as usize);
    TC_ACT_SHOT
}
