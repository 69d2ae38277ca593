//! The value of the flow table: what a tuple becomes, and where the frame goes next.

use bytemuck::{Pod, Zeroable};

use crate::checksum::{Delta, TTL_DECREMENT};
use crate::hop::{HopStamp, MAX_INTERFACES};
use crate::stamp::Stamp;
use crate::tuple::{Addr, Port, Proto, Side, Tuple};

/// One direction of a flow, in its slot of the table. Exactly one cache line.
///
/// Only packets of this direction, and slow paths by atomic operations, write it; the upper half of `seen` belongs to
/// the slot and not to the flow.
///
/// The key comes first: a slot is given to the next flow as soon as it is free, so a reader that found the entry just
/// before may see another flow's fields. It compares the key again *last*, and whoever takes a slot changes the key
/// first: then what was read in between was this flow's.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct FlowEntry {
    /// The tuple as it arrives on the wire.
    pub key: Tuple,
    /// Source address after translation.
    pub new_src: Addr,
    /// Destination address after translation.
    pub new_dst: Addr,
    /// Source port after translation.
    pub new_sport: Port,
    /// Destination port after translation.
    pub new_dport: Port,
    /// Folded checksum delta of the IPv4 header, its TTL decremented.
    pub ip_delta: u16,
    /// Folded checksum delta of the TCP, UDP or ICMP checksum.
    pub l4_delta: u16,
    /// The hop's slot, and the generation it was resolved at.
    pub hop: HopStamp,
    /// Low half, the entry's: [`crate::tcp`] flags that this direction has shown, and the constants below. High half, the slot's:
    /// its [`ProbeBound`](crate::table::ProbeBound). Changed by atomic operations only, but for the low half of an entry that is
    /// not live yet.
    pub seen: u32,
    /// Last packet of this direction, at a granularity of [`crate::stamp::TOUCH`].
    pub last: Stamp,
    /// Birth of the flow.
    pub created: Stamp,
    /// Packets translated. Exact while the direction stays on one queue.
    pub packets: u64,
    /// Bytes of those packets, IPv4 header included, Ethernet header not.
    pub bytes: u64,
}

impl FlowEntry {
    /// Set in `seen` of the entry whose packets come from inside. Never changes.
    pub const OUTBOUND: u32 = 1 << 15;

    /// Set in `seen` of the entry whose packets the flow's initiator sends. This half names the flow, and its stamp decides
    /// whether a packet or the reaper was first. Never changes.
    pub const INITIATOR: u32 = 1 << 6;

    /// Set in `seen` of both entries of a flow whose ends are on one side (inside to inside, by an EIP). Never changes.
    pub const SAME_SIDE: u32 = 1 << 7;

    /// Bits of `seen` that hold the devmap index of the interface by which packets of this entry come, if they come from
    /// inside: that on which their source was last found genuine.
    pub const VIA: u32 = 0x3f << Self::VIA_SHIFT;
    const VIA_SHIFT: u32 = 9;

    /// A devmap index as it is kept in `seen`.
    #[inline(always)]
    pub const fn via(devmap: u16) -> u32 {
        (devmap as u32) << Self::VIA_SHIFT & Self::VIA
    }

    /// What `key` becomes: a new flow entry with its deltas computed and its hop unresolved.
    #[inline(always)]
    pub fn new(key: &Tuple, becomes: &Tuple, seen: u32, now: Stamp) -> Self {
        let ip = Delta::new().dword(key.src.be, becomes.src.be).dword(key.dst.be, becomes.dst.be);
        let ports = Delta::new().word(key.sport.be, becomes.sport.be).word(key.dport.be, becomes.dport.be);
        let l4 = if key.proto == Proto::Icmp as u8 {
            // RFC 792: the ICMP checksum covers no pseudo-header.
            ports.fold()
        } else {
            Delta::new().word(!0, ip.fold()).word(!0, ports.fold()).fold()
        };
        Self {
            key: *key,
            new_src: becomes.src,
            new_dst: becomes.dst,
            new_sport: becomes.sport,
            new_dport: becomes.dport,
            ip_delta: ip.word(!0, TTL_DECREMENT).fold(),
            l4_delta: l4,
            hop: HopStamp::UNRESOLVED,
            seen,
            last: now,
            created: now,
            packets: 0,
            bytes: 0,
        }
    }

    /// The key as packets have it.
    #[inline(always)]
    pub const fn tuple(&self) -> Tuple {
        Tuple { state: 0, ..self.key }
    }

    /// Whether this entry's packets come from inside.
    #[inline(always)]
    pub const fn is_outbound(&self) -> bool {
        self.seen & Self::OUTBOUND != 0
    }

    /// Whether this entry's packets are the initiator's.
    #[inline(always)]
    pub const fn is_initiators(&self) -> bool {
        self.seen & Self::INITIATOR != 0
    }

    /// Side of the other half's key, where this half's is `side`.
    #[inline(always)]
    pub const fn pair_side(&self, side: u8) -> u8 {
        Self::pair_side_of(self.seen, side)
    }

    /// [`Self::pair_side`] for an entry of which only `seen` was read.
    #[inline(always)]
    pub const fn pair_side_of(seen: u32, side: u8) -> u8 {
        // Without a branch: the verifier would walk whatever follows once for each side.
        let same = (seen & Self::SAME_SIDE != 0) as u8;
        Side::opposite_unless(side, same)
    }

    /// The tuple that a packet matching `key` has when it leaves.
    #[inline(always)]
    pub const fn translated(&self, key: &Tuple) -> Tuple {
        Tuple {
            src: self.new_src,
            dst: self.new_dst,
            sport: self.new_sport,
            dport: self.new_dport,
            proto: key.proto,
            side: key.side,
            state: 0,
        }
    }

    /// Key of the other half of the pair: the tuple of an answer to what this entry sends out.
    #[inline(always)]
    pub const fn pair_key(&self, key: &Tuple) -> Tuple {
        Tuple {
            src: self.new_dst,
            dst: self.new_src,
            sport: self.new_dport,
            dport: self.new_sport,
            proto: key.proto,
            side: self.pair_side(key.side),
            state: 0,
        }
    }
}

crate::map_value!(FlowEntry);
const _: () =
    assert!(FlowEntry::via(MAX_INTERFACES as u16 - 1) >> FlowEntry::VIA_SHIFT == MAX_INTERFACES - 1);
const _: () = assert!(size_of::<FlowEntry>() == 64, "a flow entry is one cache line");

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum;
    use proptest::prelude::*;

    fn tuple(proto: u8, side: u8, w: [u32; 3]) -> Tuple {
        Tuple {
            src: Addr { be: w[0] },
            dst: Addr { be: w[1] },
            sport: Port { be: w[2] as u16 },
            dport: Port { be: (w[2] >> 16) as u16 },
            proto,
            side,
            state: 0,
        }
    }

    proptest! {
        /// The pair of a pair is the entry itself, on two wires and on one.
        #[test]
        fn pairs_are_mutual(k: [u32; 3], b: [u32; 3], side in 0u8..=2) {
            let key = tuple(6, side, k);
            let becomes = tuple(6, side, b);
            let now = Stamp::from_ns(1);
            let entry = FlowEntry::new(&key, &becomes, FlowEntry::OUTBOUND, now);
            prop_assert_eq!(entry.translated(&key), becomes);
            let back_key = entry.pair_key(&key);
            let mirror = Tuple { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, proto: 6, side, state: 0 };
            let back = FlowEntry::new(&back_key, &mirror, 0, now);
            prop_assert_eq!(back.pair_key(&back_key), key);
        }

        /// The same where both ends are on one side.
        #[test]
        fn pairs_on_one_side_are_mutual(k: [u32; 3], b: [u32; 3], side in 0u8..=2) {
            let (key, becomes) = (tuple(6, side, k), tuple(6, side, b));
            let now = Stamp::from_ns(1);
            let entry = FlowEntry::new(&key, &becomes, FlowEntry::SAME_SIDE | FlowEntry::INITIATOR, now);
            let back_key = entry.pair_key(&key);
            prop_assert_eq!(back_key.side, side);
            let mirror = Tuple { src: key.dst, dst: key.src, sport: key.dport, dport: key.sport, ..key };
            let back = FlowEntry::new(&back_key, &mirror, FlowEntry::SAME_SIDE, now);
            prop_assert_eq!(back.pair_key(&back_key), key);
            prop_assert!(entry.is_initiators() && !back.is_initiators());
        }

        /// The stored L4 delta turns the old pseudo-header and ports into the new ones.
        #[test]
        fn l4_delta_covers_pseudo_header_and_ports(k: [u32; 3], b: [u32; 3], payload: [u8; 8]) {
            let (key, becomes) = (tuple(17, 0, k), tuple(17, 0, b));
            let entry = FlowEntry::new(&key, &becomes, 0, Stamp::from_ns(1));
            let bytes = |t: &Tuple| {
                let mut v = vec![0, 17];
                v.extend(t.src.octets());
                v.extend(t.dst.octets());
                v.extend(t.sport.be.to_ne_bytes());
                v.extend(t.dport.be.to_ne_bytes());
                v.extend(payload);
                v
            };
            prop_assert_eq!(
                checksum::apply(checksum::full(&bytes(&key)), entry.l4_delta),
                checksum::full(&bytes(&becomes))
            );
        }
    }
}
