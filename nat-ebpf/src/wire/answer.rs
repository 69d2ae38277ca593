//! Builds what natgw itself tells the sender of a packet that it does not forward, in place of that packet.

use aya_ebpf::{
    bindings::xdp_action::XDP_DROP,
    helpers::generated::{
        bpf_csum_diff, bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_get_buff_len, bpf_xdp_load_bytes,
    },
    programs::XdpContext,
};
use nat_common::{
    Addr, Answer, Proto,
    answer::{self, HEADERS, QUOTE},
    hop::Iface,
};

use crate::{
    budget, kernel::atomics, maps, wire::packet::ETHERNET, wire::packet::ETHERTYPE_IPV4, wire::packet::Kind,
    wire::packet::Packet, wire::packet::load, wire::packet::store, work,
};

/// The quoted packet, padded with zeros, for its checksum. Room for a power of two, which a mask can bound.
pub type Quote = [u32; ROOM as usize / 4];

const ROOM: u64 = 1024;
const _: () = assert!(ROOM.is_power_of_two() && QUOTE as u64 <= ROOM);

/// Sums of the Internet checksum go over this much at once: Linux before 6.13 takes no more (net/core/filter.c,
/// `bpf_csum_diff`).
const AT_ONCE: usize = 512;

/// RFC 7600 section 4.8: the source of ICMP errors of a router that has no address.
const NO_ADDRESS: Addr = Addr::from_octets([192, 0, 0, 8]);

/// What became of an answer.
pub enum Sent {
    /// It is in the frame, and on its way: the XDP action.
    Yes(u32),
    /// The bucket is empty.
    Limited,
    /// This packet is never answered (RFC 1122 section 3.2.2), or the frame could not be made.
    No,
}

/// Turns the packet at hand, as its sender sent it, into an ICMP error about itself, and sends that back where it came from.
#[inline(always)]
pub fn send(ctx: &XdpContext, packet: &Packet, iface: &Iface, answer: Answer, outbound: bool) -> Sent {
    if !is_answerable(packet, iface) {
        return Sent::No;
    }
    if !budget::take_answer() {
        return Sent::Limited;
    }
    let from = match (outbound, iface.inside_addr, iface.outside_addr) {
        (true, addr, _) | (false, _, addr) if addr != Addr::default() => addr,
        (true, ..) => NO_ADDRESS,
        (false, ..) => packet.tuple.dst,
    };
    let quoted = if packet.len < QUOTE { packet.len } else { QUOTE };
    let Some(smac) = sender(ctx) else { return Sent::No };
    let Some(sum) = cut_and_sum(ctx, quoted) else { return Sent::No };
    // SAFETY: a valid context. Pointers are made anew below.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(HEADERS as i32)) } != 0 {
        return Sent::No;
    }
    let start = ctx.data();
    if start + ETHERNET + HEADERS as usize > ctx.data_end() {
        return Sent::No;
    }
    let (ethernet, ip) = (start as *mut u8, (start + ETHERNET) as *mut u8);
    let total = ((HEADERS + quoted) as u16).to_be();
    let (kind, code) = answer.icmp();
    let mtu = match answer {
        Answer::TooBig => work::hop().map_or(0, |hop| hop.mtu).to_be(),
        _ => 0,
    };
    let first = u16::from_ne_bytes([0x45, answer::tos(packet.tos)]);
    let lifetime = u16::from_ne_bytes([answer::TTL, Proto::Icmp as u8]);
    let message = u16::from_ne_bytes([kind, code]);
    let addresses = half_sum(from.be) + half_sum(packet.tuple.src.be);
    let ip_sum =
        u32::from(first) + u32::from(total) + u32::from(DONT_FRAGMENT) + u32::from(lifetime) + addresses;
    // SAFETY: ETHERNET and HEADERS bytes from the start are in bounds.
    unsafe {
        store(ethernet, 0, smac);
        store(ethernet, 6, iface.mac);
        store(ethernet, 12, ETHERTYPE_IPV4);
        store(ip, 0, first);
        store(ip, 2, total);
        // Identification 0: a datagram that may not be fragmented needs none (RFC 6864 section 4.1).
        store(ip, 4, 0u16);
        store(ip, 6, DONT_FRAGMENT);
        store(ip, 8, lifetime);
        store(ip, 10, folded(ip_sum));
        store(ip, 12, from);
        store(ip, 16, packet.tuple.src);
        store(ip, 20, message);
        store(ip, 22, folded(half_sum(sum) + u32::from(message) + u32::from(mtu)));
        store(ip, 24, 0u16);
        store(ip, 26, mtu);
    }
    // Not XDP_TX: a veth whose peer runs no XDP program counts that as sent and loses it (drivers/net/veth.c,
    // veth_xdp_flush).
    Sent::Yes(maps::redirect(iface.devmap).unwrap_or(XDP_DROP))
}

const DONT_FRAGMENT: u16 = 0x4000u16.to_be();

/// Never about an ICMP error, a fragment other than the first, or a sender that is not a single host.
#[inline(always)]
fn is_answerable(packet: &Packet, iface: &Iface) -> bool {
    let source = packet.tuple.src;
    !matches!(packet.kind, Kind::IcmpError | Kind::LaterFragment)
        && answer::may_be_told(source)
        && !iface.broadcasts.contains(&source)
}

/// The Ethernet address that the frame came from.
#[inline(always)]
fn sender(ctx: &XdpContext) -> Option<[u8; 6]> {
    let start = ctx.data();
    if start + ETHERNET > ctx.data_end() {
        return None;
    }
    // SAFETY: ETHERNET bytes are in bounds.
    let smac: [u8; 6] = unsafe { load(start as *mut u8, 6) };
    if smac[0] & 1 == 0 { Some(smac) } else { None }
}

/// Cuts the frame to the first `quoted` bytes of its packet; the unfolded sum over those.
#[inline(always)]
fn cut_and_sum(ctx: &XdpContext, quoted: u32) -> Option<u32> {
    // SAFETY: a valid context, with a frame of the length that it says.
    let cut = unsafe {
        let longer = bpf_xdp_get_buff_len(ctx.ctx) as i32 - (ETHERNET as i32 + quoted as i32);
        longer <= 0 || bpf_xdp_adjust_tail(ctx.ctx, -longer) == 0
    };
    let quote = work::quote()?;
    *quote = [0; ROOM as usize / 4];
    let to = quote.as_mut_ptr();
    // It is from 1 to QUOTE. The mask says so in a way that LLVM leaves alone, and that the verifier of Linux 6.1 follows.
    let length = (atomics::in_register(u64::from(quoted).wrapping_sub(1)) & (ROOM - 1)) + 1;
    // SAFETY: `length` bytes fit into the quote. Its two parts are whole words; the checksum helper only reads.
    unsafe {
        if !cut || bpf_xdp_load_bytes(ctx.ctx, ETHERNET as u32, to.cast(), length as u32) != 0 {
            return None;
        }
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, to, AT_ONCE as u32, 0);
        let rest = QUOTE - AT_ONCE as u32;
        Some(bpf_csum_diff(core::ptr::null_mut(), 0, to.add(AT_ONCE / 4), rest, sum as u32) as u32)
    }
}

/// A 32-bit sum, or word, as a sum of its halves.
#[inline(always)]
const fn half_sum(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The checksum of a sum of no more than 65,536 words.
#[inline(always)]
const fn folded(sum: u32) -> u16 {
    !(half_sum(half_sum(sum)) as u16)
}
