//! Rewriting: a packet becomes what its entry says.

use nat_common::{
    Addr, Proto,
    checksum::{self, Delta},
    icmp,
};

use super::{IPV4_MIN, load, parse::Headers, store};
use crate::{
    frame::{Change, Frame},
    table::EntryRef,
    work::packet::Packet,
};

/// Whether the frame's TTL goes down here, or later in the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum TtlStep {
    /// natgw forwards the frame.
    Decrement,
    /// The kernel forwards it, and decrements.
    Keep,
}

/// Writes what the packet becomes: addresses, ports, checksums, TTL. Options and DSCP/ECN stay as they are.
///
/// `false` when the transport header is not in the frame, or the kernel has no memory to make it writable: the frame is then to
/// be dropped. The first cannot happen to a packet that the parser gave a tuple, but the verifier does not see that far.
#[inline(always)]
pub fn translate<F: Frame>(
    frame: F,
    headers: &mut Headers,
    packet: &Packet,
    flow: EntryRef,
    ttl: TtlStep,
) -> bool {
    let Headers { l4, end, .. } = *headers;
    let change = Translation { packet, flow };
    let at = u32::from(packet.l4);
    let mut moved = Some(false);
    if l4 as usize + 8 > end {
        return false;
    }
    // SAFETY: the parser checked 20 bytes from `ip`; 8 bytes from `l4` are in bounds, and 18 where TCP needs them.
    unsafe {
        if packet.tuple.proto == Proto::Tcp as u8 {
            if l4 as usize + 18 > end {
                return false;
            }
            store(l4, 0, flow.new_ports());
            moved = frame.adjust_checksum(l4.add(16), at + 16, change, false);
        } else if packet.tuple.proto == Proto::Udp as u8 {
            store(l4, 0, flow.new_ports());
            moved = frame.adjust_checksum(l4.add(6), at + 6, change, true);
        } else {
            let id = if packet.icmp_type == icmp::ECHO_REQUEST { flow.new_sport() } else { flow.new_dport() };
            store(l4, 4, id);
            // Not by `adjust_checksum`, which is about pseudo headers: ICMP has none (RFC 792), and its checksum is never left for
            // a device to finish.
            store(l4, 2, checksum::apply(load(l4, 2), flow.l4_delta()));
        }
    }
    match moved {
        Some(false) => {}
        Some(true) if headers.renew(frame) => {}
        Some(true) | None => return false,
    }
    let ip = headers.ip;
    // SAFETY: the parser, or `renew`, checked 20 bytes from `ip`.
    unsafe {
        let mut ip_checksum = checksum::apply(load(ip, 10), flow.ip_delta());
        match ttl {
            TtlStep::Decrement => store(ip, 8, packet.ttl - 1),
            TtlStep::Keep => ip_checksum = checksum::apply(ip_checksum, checksum::TTL_INCREMENT),
        }
        store(ip, 10, ip_checksum);
        store(ip, 12, flow.new_src());
        store(ip, 16, flow.new_dst());
    }
    true
}

impl Headers {
    /// Makes the pointers to link-layer and network header anew: whether those are in the frame.
    #[inline(always)]
    fn renew<F: Frame>(&mut self, frame: F) -> bool {
        let (start, end) = (frame.start(), frame.end());
        if start + F::LINK + IPV4_MIN > end {
            return false;
        }
        (self.link, self.ip) = (start as *mut u8, (start + F::LINK) as *mut u8);
        true
    }
}

/// What changes when a packet is translated by an entry.
struct Translation<'a> {
    packet: &'a Packet,
    flow: EntryRef,
}

impl Change for Translation<'_> {
    #[inline(always)]
    fn whole(&self) -> u16 {
        self.flow.l4_delta()
    }

    #[inline(always)]
    fn parts(&self) -> (u16, u16) {
        let Self { packet, flow } = self;
        let (Addr { be: src }, Addr { be: dst }) = (packet.tuple.src, packet.tuple.dst);
        let addresses = Delta::new().dword(src, flow.new_src().be).dword(dst, flow.new_dst().be);
        let ports = Delta::new()
            .word(packet.tuple.sport.be, flow.new_sport())
            .word(packet.tuple.dport.be, flow.new_dport());
        (addresses.fold(), ports.fold())
    }
}

/// Addresses the frame to the next hop. `false` when it came without link-layer header and has no room for one. No address at all:
/// the device that it leaves by has no such header, and takes it off (net/core/filter.c, `__bpf_redirect_no_mac`).
#[inline(always)]
pub fn set_macs<F: Frame>(frame: F, headers: &Headers, macs: [u32; 3]) -> bool {
    if F::LINK == 0 {
        return macs == [0; 3] || frame.put_link(macs);
    }
    // SAFETY: the parser checked the link-layer header.
    unsafe { store(headers.link, 0, macs) }
    true
}
