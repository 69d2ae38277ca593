//! Building: an ICMP error of natgw's own, in place of the packet that it is about.

use aya_ebpf::helpers::generated::bpf_csum_diff;
use nat_common::{
    Addr, Answer, Proto,
    answer::{self, HEADERS, QUOTE},
};

use super::{DONT_FRAGMENT, ETHERTYPE_IPV4, load, store};
use crate::{
    frame::Frame,
    kernel::register,
    work::{
        Work,
        packet::{Fragment, Packet, QUOTE_ROOM, Quote},
    },
};

/// Sums of the Internet checksum go over this much at once: Linux before 6.13 takes no more (net/core/filter.c,
/// `bpf_csum_diff`).
const AT_ONCE: usize = 512;

/// Turns the packet at hand, as its sender sent it, into an ICMP error about itself, from the address `from` and the station
/// `smac` to where it came from. `None` when the frame could not be made; it is then to be dropped.
#[inline(always)]
pub fn build<F: Frame>(frame: F, work: &mut Work, answer: Answer, from: Addr, smac: [u8; 6]) -> Option<()> {
    let packet = &work.packet;
    let quoted = if packet.len < QUOTE { packet.len } else { QUOTE };
    let dmac = if F::LINK == 0 { [0; 6] } else { sender(frame)? };
    if !frame.cut_to(F::LINK as u32 + quoted) {
        return None;
    }
    let sum = match partial(frame, packet) {
        Some(field) => settled(frame, field, sum(frame, quoted, &mut work.quote)?)?,
        None => sum(frame, quoted, &mut work.quote)?,
    };
    if !frame.move_start(-(HEADERS as i32)) {
        return None;
    }
    let start = frame.start();
    if start + F::LINK + HEADERS as usize > frame.end() {
        return None;
    }
    let (link, ip) = (start as *mut u8, (start + F::LINK) as *mut u8);
    let total = ((HEADERS + quoted) as u16).to_be();
    let (kind, code) = answer.icmp();
    let mtu = match answer {
        Answer::TooBig => work.route.hop.mtu.to_be(),
        _ => 0,
    };
    let first = u16::from_ne_bytes([0x45, answer::tos(packet.tos)]);
    let lifetime = u16::from_ne_bytes([answer::TTL, Proto::Icmp as u8]);
    let message = u16::from_ne_bytes([kind, code]);
    let addresses = half_sum(from.be) + half_sum(packet.tuple.src.be);
    let ip_sum =
        u32::from(first) + u32::from(total) + u32::from(DONT_FRAGMENT) + u32::from(lifetime) + addresses;
    // SAFETY: the link-layer header and HEADERS bytes from the start are in bounds.
    unsafe {
        if F::LINK != 0 {
            store(link, 0, dmac);
            store(link, 6, smac);
            store(link, 12, ETHERTYPE_IPV4);
        }
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
    Some(())
}

/// The Ethernet address that the frame came from; `None` when that is no single station's.
#[inline(always)]
pub(super) fn sender<F: Frame>(frame: F) -> Option<[u8; 6]> {
    let start = frame.start();
    if start + F::LINK > frame.end() {
        return None;
    }
    // SAFETY: the link-layer header is in bounds.
    let smac: [u8; 6] = unsafe { load(start as *const u8, 6) };
    if smac[0] & 1 == 0 { Some(smac) } else { None }
}

/// The unfolded checksum sum over the first `quoted` bytes of the packet, which are the frame's last.
#[inline(always)]
fn sum<F: Frame>(frame: F, quoted: u32, quote: &mut Quote) -> Option<u32> {
    *quote = [0; QUOTE_ROOM as usize / 4];
    let to = quote.as_mut_ptr();
    // `quoted` is from 1 to QUOTE, but the verifier of Linux 6.1 has to see the bound of a length in the instructions before the
    // helper is called. The mask is one that it follows, and LLVM, which knows the bound, is kept from taking it out.
    let length = (register::in_register(u64::from(quoted).wrapping_sub(1)) & (QUOTE_ROOM - 1)) + 1;
    // SAFETY: `length` bytes fit into the quote. Its two parts are whole words; the checksum helper only reads.
    unsafe {
        if !frame.copy(F::LINK as u32, to.cast(), length as u32) {
            return None;
        }
        let sum = bpf_csum_diff(core::ptr::null_mut(), 0, to, AT_ONCE as u32, 0);
        let rest = QUOTE - AT_ONCE as u32;
        Some(bpf_csum_diff(core::ptr::null_mut(), 0, to.add(AT_ONCE / 4), rest, sum as u32) as u32)
    }
}

/// Offset of the quoted packet's transport checksum, if that is still to be completed.
#[inline(always)]
fn partial<F: Frame>(frame: F, packet: &Packet) -> Option<u32> {
    if matches!(packet.fragment, Fragment::Later) {
        return None;
    }
    let within = match Proto::from_number(packet.tuple.proto)? {
        Proto::Tcp => 16,
        Proto::Udp => 6,
        Proto::Icmp => return None,
    };
    let at = u32::from(packet.l4) + within;
    if frame.is_partial(at) { Some(at) } else { None }
}

/// Whoever completes the checksum at offset `field` of the quoted packet would do so behind the back of the error's own checksum,
/// and nothing can keep them from it. So the field gets the one value that completing leaves as it is: of a packet whose bytes have
/// the sum `sum`, the returned sum then stays true whether that happens or not. What is quoted of the checksum is wrong, as it was
/// before; who gets an error cannot verify it, for the quote is cut off.
///
/// The network header, whose own checksum makes its sum 0 (or -0), does not change the sum. Completing stores the complement of
/// the sum of all bytes, those of the field (F) included: with the others' sum R that is `-(F + R)`, which is F again when F is
/// `-R / 2`. Sums are numbers modulo 65,535, which is odd: every one of them has a half.
#[inline(always)]
fn settled<F: Frame>(frame: F, field: u32, sum: u32) -> Option<u32> {
    let at = frame.start() + (field & 0x7f) as usize;
    if at + 2 > frame.end() {
        return None;
    }
    let at = at as *mut u8;
    // SAFETY: two bytes from `at` are in bounds.
    let old: u16 = unsafe { load(at, 0) };
    let others = half_sum(sum) + u32::from(!old);
    let less = u32::from(folded(others));
    let half = u32::midpoint(less, (less & 1) * 0xffff);
    // SAFETY: as above.
    unsafe { store(at, 0, half as u16) };
    Some(half_sum(others) + half)
}

/// A 32-bit sum, or word, as a sum of its halves.
#[inline(always)]
pub(super) const fn half_sum(word: u32) -> u32 {
    (word & 0xffff) + (word >> 16)
}

/// The checksum of a sum of no more than 65,536 words.
#[inline(always)]
pub(super) const fn folded(sum: u32) -> u16 {
    !(half_sum(half_sum(sum)) as u16)
}
