//! Birth: the forward entry completes the pair whose reverse entry the claim has inserted.

use nat_common::{Addr, FlowEntry, Proto, Reason, Tuple, Verdict, table::insert::Inserted};

use crate::{
    frame::{Frame, Kind},
    maps,
    report::stats,
    table,
    work::{Work, packet::Packet},
};

/// Completes a birth: the reverse entry was inserted by the claim, the forward entry follows.
///
/// Losing to another CPU that creates the same flow undoes the claim, and the winner's pair is used.
#[inline(never)]
pub fn pair<F: Frame>(frame: F, work: &mut Work) -> Result<(), Verdict> {
    let reverse = &work.search.reverse;
    let key = &work.packet.tuple;
    let becomes = Tuple { src: reverse.dst, dst: key.dst, sport: reverse.dport, dport: key.dport, ..*key };
    let seen = FlowEntry::INITIATOR | FlowEntry::OUTBOUND;
    let via = maps::iface(frame.ingress()).map_or(0, |iface| FlowEntry::via(iface.devmap));
    work.entry = FlowEntry::new(key, &becomes, seen | via | work.packet.flags, work.now);
    work.entry.hop = work.route.hop.stamp;
    let Some(proto) = Proto::from_number(key.proto) else {
        return Err(Verdict::drop(Reason::UnsupportedProto));
    };
    match table::insert_patiently(key, &work.entry, 0) {
        Inserted::Done => {
            stats::count(|s| s.births[proto.index()] += 1);
            if F::KIND == Kind::Xdp && has_partial_checksum(frame, &work.packet, proto) {
                stats::count(|s| s.partial_checksums += 1);
            }
            Ok(())
        }
        Inserted::Exists => {
            table::undo(reverse, work.now);
            stats::count(|s| s.lost_races += 1);
            table::wait_for_winner(key);
            Ok(())
        }
        Inserted::Full | Inserted::Crowded | Inserted::Disturbed => {
            // Not for want of room, which the first half brought along.
            table::undo(reverse, work.now);
            Err(Verdict::drop(Reason::Contended))
        }
    }
}

/// Whether the checksum is what a sender leaves to its offload: the sum of the pseudo-header alone. Of complete ones, one in
/// 65,536 looks like that too. XDP is not told, so it can only be seen; it is looked at in the first packet of a flow.
#[inline(never)]
fn has_partial_checksum<F: Frame>(frame: F, packet: &Packet, proto: Proto) -> bool {
    let field = match proto {
        Proto::Tcp => 16,
        Proto::Udp => 6,
        Proto::Icmp => return false,
    };
    let mut found = 0u16;
    // SAFETY: two bytes of the stack.
    let is_read = unsafe { frame.copy(u32::from(packet.l4) + field, (&raw mut found).cast(), 2) };
    let length = packet.len as u16 - (packet.l4 - packet.l3);
    let half = |word: u32| (word & 0xffff) + (word >> 16);
    let word = |addr: Addr| u32::from_ne_bytes(addr.octets());
    let (src, dst) = (word(packet.tuple.src), word(packet.tuple.dst));
    let rest = u32::from((proto as u16).to_be()) + u32::from(length.to_be());
    is_read && u32::from(found) == half(half(half(src) + half(dst) + rest))
}
