//! The tc guards: what holds "no leak" and "no unsolicited inbound" for everything that the kernel gets, also when the XDP
//! program is not there. The ingress guard is on every managed interface, the egress guard on outside ones.
//!
//! What they do not stop is `TC_ACT_UNSPEC`: `TC_ACT_OK` would end the hook, and with it the programs of others.

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC};
use nat_common::{Addr, Reason, Side, Tuple, handover::Handover, hop::Iface};

use crate::{
    frame::{
        View, checked_alone,
        skb::{self, Station, Tc},
    },
    kernel::fib::{self, Route},
    maps,
    policy::{
        kernel::{self, Kernel, is_for_everybody},
        own_pings, source,
    },
    report::stats,
    wire::{
        embedded, parse,
        tags::{self, Tagged, VID},
    },
    work::Work,
};

/// What a frame turned out to be.
enum Guarded {
    /// IPv4, with priority tags or none.
    Ipv4 {
        /// Addresses.
        tuple: Tuple,
        /// Offset of the network header.
        at: usize,
    },
    /// Not IPv4, or of a VLAN, whose own interface decides.
    Foreign,
    /// More tags than are looked through, too short, or with a source route.
    Unclassified,
}

/// No frame leaves outside with an inside source, nor with an EIP that natgw did not give it, nor untranslated after it came
/// by a managed interface; but for exempt destinations. Nor does an ICMP error of the host's that quotes an inside address.
#[inline(always)]
pub fn egress<const LINK: usize>(frame: Tc<LINK>) -> i32 {
    let (Some(work), Some(settings)) = (maps::work(), maps::settings()) else { return shot() };
    if frame.take_mark(settings) {
        return TC_ACT_UNSPEC;
    }
    let (tuple, at) = match classify(frame, work) {
        Guarded::Ipv4 { tuple, at } => (tuple, at),
        Guarded::Foreign => return TC_ACT_UNSPEC,
        Guarded::Unclassified => return shot(),
    };
    let Tuple { src, dst, .. } = tuple;
    let came_by = came_by(frame);
    let is_for_inside = maps::pool(dst).is_some();
    // An ICMP error of the host's own that quotes an inside address is about a packet from outside that natgw had translated and
    // handed to the kernel: it would show the sender an inside address, in a packet that the sender never sent.
    if came_by.is_none() && !is_for_inside && quotes_inside(frame, at) {
        return shot();
    }
    if let Some(eip) = maps::eip(src) {
        // Translated and handed over: the ingress guard let nobody else's packet with an EIP for a source in.
        // And by its own link: what the kernel forwards may have been routed anew.
        let is_natgws = came_by.is_some_and(|iface| iface.side != Side::OUTSIDE)
            && (eip.outside == 0 || eip.outside == frame.interface());
        let is_hosts = eip.shared != 0 && came_by.is_none();
        if is_hosts {
            own_pings::note(frame, at, src, dst);
        }
        return if is_natgws || is_hosts { TC_ACT_UNSPEC } else { shot() };
    }
    // A one-armed gateway's wire is the inside as well as the outside: what goes to a host or a router with an inside address stays
    // inside.
    if maps::is_exempt(dst) || (maps::is_one_armed() && is_for_inside && next_is_inside(frame, work, &tuple))
    {
        return TC_ACT_UNSPEC;
    }
    if came_by.is_some() || maps::pool(src).is_some() { shot() } else { TC_ACT_UNSPEC }
}

/// The kernel gets what natgw hands over, and what is for this host or exempt, with a source that can be genuine.
#[inline(always)]
pub fn ingress<const LINK: usize>(frame: Tc<LINK>) -> i32 {
    if maps::iface(frame.interface()).is_none() {
        return TC_ACT_UNSPEC;
    }
    let (Some(work), Some(settings)) = (maps::work(), maps::settings()) else { return shot() };
    let handed_over = frame.handed_over(settings);
    if let Some(to) = handed_over
        && to != Handover::KERNEL
    {
        return skb::send_to(to);
    }
    if frame.station() == Station::Another {
        return TC_ACT_UNSPEC;
    }
    let tuple = match classify(frame, work) {
        Guarded::Ipv4 { tuple, .. } => tuple,
        Guarded::Foreign => return TC_ACT_UNSPEC,
        Guarded::Unclassified => return shot(),
    };
    if handed_over.is_some() {
        return TC_ACT_UNSPEC;
    }
    (work.packet.tuple.src, work.packet.tuple.dst) = (tuple.src, tuple.dst);
    if passes(frame, work) { TC_ACT_UNSPEC } else { shot() }
}

checked_alone! {
    /// Whether the kernel may have a packet that arrives, whose addresses are in the packet at hand.
    fn passes<V: View>(frame, work) -> bool = arriving; Skb as guard_skb, Ip as guard_ip
}

#[inline(always)]
fn arriving<const LINK: usize>(frame: Tc<LINK>, work: &mut Work) -> bool {
    let Some(iface) = maps::iface(frame.interface()) else { return false };
    let is_inside = match iface.side {
        Side::INSIDE => true,
        Side::OUTSIDE => false,
        _ => maps::pool(work.packet.tuple.src).is_some(),
    };
    if is_inside { passes_from_inside(frame, work, iface) } else { passes_from_outside(frame, work, iface) }
}

/// Whether the kernel may have a packet that comes from inside.
#[inline(always)]
fn passes_from_inside<const LINK: usize>(frame: Tc<LINK>, work: &mut Work, iface: &Iface) -> bool {
    let Tuple { src, dst, .. } = work.packet.tuple;
    let pool = maps::pool(src);
    if pool.is_none() && maps::eip(src).is_some() {
        return false;
    }
    if src == Addr::default() && dst.is_group() {
        return true;
    }
    if !source::is_genuine(frame, work) {
        return false;
    }
    if let Some(passes) = for_many_or_an_eip(frame, iface, dst) {
        return passes;
    }
    match would_do(frame, work, iface) {
        Kernel::Delivers => true,
        Kernel::Refuses => false,
        // Outside, the egress guard knows what is exempt, and lets nothing else with an inside source out.
        Kernel::Routes | Kernel::LeavesOutside => pool.is_some(),
        Kernel::Opens => pool.is_some() && maps::is_exempt(dst),
    }
}

/// Whether the kernel may have a packet that comes from outside.
#[inline(always)]
fn passes_from_outside<const LINK: usize>(frame: Tc<LINK>, work: &mut Work, iface: &Iface) -> bool {
    let Tuple { src, dst, .. } = work.packet.tuple;
    let exempt = maps::is_exempt(src) && source::is_genuine(frame, work);
    if !exempt && (maps::pool(src).is_some() || maps::eip(src).is_some()) {
        return false;
    }
    if iface.side == Side::ONEARM && src != Addr::default() && !source::is_genuine(frame, work) {
        return false;
    }
    if let Some(passes) = for_many_or_an_eip(frame, iface, dst) {
        return passes;
    }
    if maps::pool(dst).is_some() {
        return exempt;
    }
    would_do(frame, work, iface) == Kernel::Delivers
}

/// Whether a packet passes, when it is for more than one host, or for an EIP.
#[inline(always)]
fn for_many_or_an_eip<const LINK: usize>(frame: Tc<LINK>, iface: &Iface, dst: Addr) -> Option<bool> {
    if is_for_everybody(iface, dst) {
        return Some(true);
    }
    // A unicast packet in a broadcast or multicast frame.
    if frame.station() != Station::This {
        return Some(false);
    }
    maps::eip(dst).map(|eip| eip.shared != 0)
}

/// What the kernel would do with the packet.
#[inline(always)]
fn would_do<const LINK: usize>(frame: Tc<LINK>, work: &mut Work, iface: &Iface) -> Kernel {
    let Tuple { src, dst, .. } = work.packet.tuple;
    let tuple = Tuple { src, dst, ..Tuple::default() };
    kernel::does(frame, frame.interface(), iface, &tuple, 0, &mut work.route.fib)
}

/// Whether the next hop of a packet that leaves has an inside address.
#[inline(always)]
fn next_is_inside<const LINK: usize>(frame: Tc<LINK>, work: &mut Work, tuple: &Tuple) -> bool {
    let fib = &mut work.route.fib;
    match fib::route(frame.context(), frame.interface(), tuple, 0, fib) {
        Route::Resolved | Route::Unresolved => maps::pool(fib::next_hop(fib).addr).is_some(),
        // Forwarding is off: only the host itself sends.
        Route::Disabled => true,
        _ => false,
    }
}

/// Whether a packet is an ICMP error about one with an inside address.
#[inline(always)]
fn quotes_inside<const LINK: usize>(frame: Tc<LINK>, at: usize) -> bool {
    embedded::quotes(frame, at, |addr| maps::pool(addr).is_some())
}

/// The managed interface that the packet came by; `None` when it is the host's own, or came by another one.
#[inline(always)]
fn came_by<const LINK: usize>(frame: Tc<LINK>) -> Option<&'static Iface> {
    let ingress = frame.ingress();
    if ingress == 0 { None } else { maps::iface(ingress) }
}

/// Looks through priority tags as the XDP programs do. The kernel has taken the first tag off by now, and keeps it beside
/// the frame.
#[inline(always)]
fn classify<const LINK: usize>(frame: Tc<LINK>, work: &mut Work) -> Guarded {
    if frame.tag_beside().is_some_and(|tag| tag & u16::from_be(VID) != 0) {
        return Guarded::Foreign;
    }
    frame.pull(parse::MOST_BYTES);
    let at = match tags::look_through(frame) {
        Tagged::Ipv4(at) => at,
        Tagged::Foreign | Tagged::OtherVlan => return Guarded::Foreign,
        Tagged::Short | Tagged::TooDeep => return Guarded::Unclassified,
    };
    match parse::addresses(frame, at, work) {
        Some((src, dst)) => Guarded::Ipv4 { tuple: Tuple { src, dst, ..Tuple::default() }, at },
        None => Guarded::Unclassified,
    }
}

#[inline(always)]
fn shot() -> i32 {
    stats::dropped(Reason::Guard as usize);
    TC_ACT_SHOT
}
