//! Building: a TCP reset in place of the segment that it answers.

use nat_common::{Proto, answer};

use super::{
    DONT_FRAGMENT, ETHERTYPE_IPV4, IPV4_MAX, IPV4_MIN, TCP_MIN,
    error::{folded, half_sum, sender},
    load, parse, store,
};
use crate::{frame::Frame, work::Work};

/// Bytes of the reset.
const TOTAL: usize = IPV4_MIN + TCP_MIN;
/// Bytes of the shortest payload of an Ethernet frame (IEEE 802.3, 3.2.7).
const SHORTEST: usize = 46;

/// Offset of the checksum in a TCP header.
const CHECKSUM: u32 = 16;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Turns the segment at hand, as its sender sent it, into the reset that a host without such a connection would answer it with,
/// from the segment's destination and the station `smac`. `None` when it is a reset itself, or the frame could not be made; it is
/// then to be dropped.
///
/// RFC 9293 section 3.10.7.1: the reset of a segment with an acknowledgment has the sequence number that is acknowledged, so that
/// it passes for exactly the one that the sender expects next (RFC 5961 section 3.2). That of another acknowledges the segment.
#[inline(always)]
pub fn build<F: Frame>(frame: F, work: &Work, smac: [u8; 6]) -> Option<()> {
    let packet = &work.packet;
    let at = usize::from(packet.l4);
    if packet.tuple.proto != Proto::Tcp as u8 || at > F::LINK + IPV4_MAX {
        return None;
    }
    let dmac = if F::LINK == 0 { [0; 6] } else { sender(frame)? };
    let is_partial = frame.is_partial(at as u32 + CHECKSUM);
    // Whoever completes the checksum of the segment does so at the segment's place, which has to be the reset's as well.
    if is_partial && at != F::LINK + IPV4_MIN {
        return None;
    }
    let l4 = frame.start() + at;
    if l4 + TCP_MIN > frame.end() {
        return None;
    }
    // SAFETY: TCP_MIN bytes from `l4` are in bounds.
    let (sequence, acknowledged, flags): (u32, u32, u8) =
        unsafe { (load(l4 as *const u8, 4), load(l4 as *const u8, 8), load(l4 as *const u8, 13)) };
    if flags & RST != 0 {
        return None;
    }
    let length =
        parse::tcp_payload(frame, packet) + u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    let (sequence, acknowledged, flags) = if flags & ACK != 0 {
        (acknowledged, 0, RST)
    } else {
        (0, u32::from_be(sequence).wrapping_add(length).to_be(), RST | ACK)
    };
    if !frame.cut_to((F::LINK + SHORTEST) as u32) {
        return None;
    }
    let start = frame.start();
    if start + F::LINK + TOTAL > frame.end() {
        return None;
    }
    let (link, ip) = (start as *mut u8, (start + F::LINK) as *mut u8);
    let tuple = &packet.tuple;
    let addresses = half_sum(tuple.src.be) + half_sum(tuple.dst.be);
    let (first, total) = (u16::from_ne_bytes([0x45, 0]), (TOTAL as u16).to_be());
    let lifetime = u16::from_ne_bytes([answer::TTL, Proto::Tcp as u8]);
    let ip_sum =
        u32::from(first) + u32::from(total) + u32::from(DONT_FRAGMENT) + u32::from(lifetime) + addresses;
    let header = u16::from_ne_bytes([(TCP_MIN as u8 / 4) << 4, flags]);
    let pseudo = u32::from(u16::from_ne_bytes([0, Proto::Tcp as u8])) + u32::from((TCP_MIN as u16).to_be());
    let ports = u32::from(tuple.sport.be) + u32::from(tuple.dport.be);
    let sum = pseudo + addresses + ports + half_sum(sequence) + half_sum(acknowledged) + u32::from(header);
    // SAFETY: the link-layer header and TOTAL bytes behind it are in bounds.
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
        store(ip, 12, tuple.dst);
        store(ip, 16, tuple.src);
        store(ip, 20, tuple.dport);
        store(ip, 22, tuple.sport);
        store(ip, 24, sequence);
        store(ip, 28, acknowledged);
        store(ip, 32, header);
        store(ip, 34, 0u16);
        store(ip, 36, if is_partial { !folded(pseudo + addresses) } else { folded(sum) });
        store(ip, 38, 0u16);
    }
    // What pads a short frame is not to show what was there before.
    if start + F::LINK + SHORTEST <= frame.end() {
        // SAFETY: in bounds.
        unsafe { store(ip, TOTAL, [0u16; (SHORTEST - TOTAL) / 2]) };
    }
    Some(())
}
