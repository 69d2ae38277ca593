//! VLAN tags (IEEE 802.1Q). A priority tag, of VLAN 0, only carries a priority: it is taken off, and the frame is treated as
//! if it had never been there. A tag of another VLAN makes the frame that VLAN's: the kernel gives it to the interface of that
//! VLAN, where natgw or the host decides, or drops it when there is none (net/core/dev.c, `__netif_receive_skb_core`).
//!
//! Linux takes off any number of tags. What has more of them than natgw looks through is dropped.

use nat_common::{PassReason, Reason, Verdict};
use network_types::eth::EtherType;

use super::{ETHERTYPE_IPV4, load, store};
use crate::{
    frame::{Frame, View, checked_alone},
    work::Work,
};

/// Tags that natgw looks through.
pub const MOST_TAGS: usize = 4;

/// Bytes of a tag.
pub const VLAN: usize = 4;

/// VLAN identifier in a tag's control information, network byte order.
pub const VID: u16 = 0x0fffu16.to_be();

const ETHERTYPE_VLAN: u16 = EtherType::Ieee8021q as u16;
const ETHERTYPE_QINQ: u16 = EtherType::Ieee8021ad as u16;

/// What stands behind the tags of a frame.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tagged {
    /// IPv4, at this offset from the start of the frame.
    Ipv4(usize),
    /// Another protocol.
    Foreign,
    /// A frame of a VLAN, whose own interface decides.
    OtherVlan,
    /// The frame ends in its tags.
    Short,
    /// More tags than are looked through.
    TooDeep,
}

/// Looks through the tags of a frame.
#[inline(always)]
pub fn look_through<V: View>(frame: V) -> Tagged {
    let (start, end) = (frame.start(), frame.end());
    if V::LINK == 0 {
        // SAFETY: there is no link-layer header.
        let is_ipv4 = unsafe { frame.ethertype(start) } == ETHERTYPE_IPV4;
        return if is_ipv4 { Tagged::Ipv4(0) } else { Tagged::Foreign };
    }
    if start + V::LINK > end {
        return Tagged::Short;
    }
    let mut at = start + V::LINK;
    for tags in 0..=MOST_TAGS {
        // SAFETY: the ethertype before `at` is in bounds: checked above, and below with every tag.
        let ethertype: u16 = unsafe { load((at - 2) as *const u8, 0) };
        if ethertype == ETHERTYPE_IPV4 {
            return Tagged::Ipv4(V::LINK + tags * VLAN);
        }
        // `eth_type_vlan` of `include/linux/if_vlan.h`.
        if ethertype != ETHERTYPE_VLAN && ethertype != ETHERTYPE_QINQ {
            return Tagged::Foreign;
        }
        if at + VLAN > end {
            return Tagged::Short;
        }
        // SAFETY: VLAN bytes from `at` are in bounds.
        if unsafe { load::<u16>(at as *const u8, 0) } & VID != 0 {
            return Tagged::OtherVlan;
        }
        at += VLAN;
    }
    Tagged::TooDeep
}

checked_alone! {
    /// Takes the priority tags off a frame whose first ethertype is not IPv4, or that is too short for IPv4. `Ok`: it is
    /// untagged IPv4 now, and pointers into it are to be made anew.
    pub fn take_off<F: Frame>(frame, work) -> Result<(), Verdict> = take_tags; Xdp as tags_xdp, Skb as tags_skb, Ip as tags_ip
}

#[inline(always)]
fn take_tags<F: Frame>(frame: F, _work: &mut Work) -> Result<(), Verdict> {
    let beside = frame.tag_beside();
    if beside.is_some_and(|tag| tag & u16::from_be(VID) != 0) {
        return Err(Verdict::pass(PassReason::OtherVlan));
    }
    let beside = usize::from(beside.is_some());
    match look_through(frame) {
        // Without a tag: too short for IPv4, or the parser would not have asked.
        Tagged::Ipv4(at) if at > F::LINK || beside > 0 => remove(frame, (at - F::LINK) / VLAN, beside),
        Tagged::Ipv4(_) | Tagged::Short => Err(Verdict::drop(Reason::BadHeader)),
        Tagged::Foreign => Err(Verdict::pass(PassReason::NotIpv4)),
        Tagged::OtherVlan => Err(Verdict::pass(PassReason::OtherVlan)),
        Tagged::TooDeep => Err(Verdict::drop(Reason::Vlan)),
    }
}

/// Takes the first `tags` behind the link-layer addresses off, and as many as there are beside the frame.
#[inline(always)]
fn remove<F: Frame>(frame: F, tags: usize, beside: usize) -> Result<(), Verdict> {
    const BAD: Result<(), Verdict> = Err(Verdict::drop(Reason::BadHeader));
    if let Some(is_done) = frame.pop_tags(tags + beside) {
        return if is_done { Ok(()) } else { BAD };
    }
    let start = frame.start();
    if start + F::LINK > frame.end() {
        return BAD;
    }
    // SAFETY: the link-layer header is in bounds.
    let addresses: [u32; 3] = unsafe { load(start as *const u8, 0) };
    if !frame.move_start((tags * VLAN) as i32) {
        return BAD;
    }
    let start = frame.start();
    if start + F::LINK > frame.end() {
        return BAD;
    }
    // SAFETY: the link-layer header is in bounds.
    unsafe { store(start as *mut u8, 0, addresses) };
    Ok(())
}
