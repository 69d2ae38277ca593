//! Birth: the forward entry completes the pair whose reverse entry the claim has inserted.

use nat_common::{FlowEntry, Proto, Reason, Tuple, Verdict, table::insert::Inserted};

use crate::{frame::Frame, maps, report::stats, table, work::Work};

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
