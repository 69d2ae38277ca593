//! Rewriting: a packet becomes what its entry says.

use nat_common::{Proto, checksum, icmp};

use super::{load, parse::Headers, store};
use crate::{frame::Frame, table::EntryRef, work::packet::Packet};

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
/// `false`, and nothing written, when the transport header is not in the frame: cannot happen to a packet that the parser
/// gave a tuple, but the verifier does not see that far.
#[inline(always)]
pub fn translate<F: Frame>(
    frame: F,
    headers: &Headers,
    packet: &Packet,
    flow: EntryRef,
    ttl: TtlStep,
) -> bool {
    let Headers { ip, l4, end, .. } = *headers;
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
            frame.adjust_checksum(l4.add(16), flow.l4_delta(), false);
        } else if packet.tuple.proto == Proto::Udp as u8 {
            store(l4, 0, flow.new_ports());
            frame.adjust_checksum(l4.add(6), flow.l4_delta(), true);
        } else {
            let id = if packet.icmp_type == icmp::ECHO_REQUEST { flow.new_sport() } else { flow.new_dport() };
            store(l4, 4, id);
            // Not by `adjust_checksum`, which is about pseudo headers: ICMP has none (RFC 792), and its checksum is never left for
            // a device to finish.
            store(l4, 2, checksum::apply(load(l4, 2), flow.l4_delta()));
        }
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

/// Addresses the frame to the next hop.
#[inline(always)]
pub fn set_macs(headers: &Headers, macs: [u32; 3]) {
    // SAFETY: the parser checked the link-layer header.
    unsafe { store(headers.link, 0, macs) }
}
