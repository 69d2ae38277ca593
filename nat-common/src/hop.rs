//! Hops: where a frame goes next. Resolved once, kept in a slot that all flows with the same next hop share.
//!
//! A flow entry keeps a [`HopStamp`]: the slot, and the slot's generation when the flow resolved its hop. The slot is
//! good for the flow while its stamp is still that. The daemon bumps the stamp when the neighbour changes, the packet
//! path when it gives the slot to another next hop; then every flow that used it resolves its hop again, once.

use bytemuck::{Pod, Zeroable};

use crate::tuple::Addr;

/// Slots of `HOPS`. A next hop stands in one of [`HOP_WAYS`] slots from the one that its hash names.
pub const HOP_SLOTS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;
const GEN_BITS: u32 = 32 - SLOT_BITS;
const GEN_MASK: u32 = (1 << GEN_BITS) - 1;

/// Slots that a next hop may stand in. When all are taken it takes the first: a needless re-resolution for whoever
/// used that, never a wrong hop.
pub const HOP_WAYS: u32 = 8;

/// [`HopSlot::egress`] of a hop that natgw does not transmit to itself: the kernel forwards the translated packet
/// (tunnel, bridge, VLAN sub-interface).
pub const EGRESS_KERNEL: u16 = u16::MAX;

/// Managed interfaces at most: the size of the devmap.
pub const MAX_INTERFACES: u32 = 64;

/// A hop slot (upper 14 bits) and the slot's generation (lower 18).
///
/// Keeping both in one word makes the fast path's staleness check one comparison. A stale entry could pass only after
/// exactly 2^18 bumps of its slot.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct HopStamp {
    /// `slot << 18 | generation`.
    pub word: u32,
}

impl HopStamp {
    /// Never equal to a slot's current stamp: forces a resolution.
    pub const UNRESOLVED: Self = Self { word: u32::MAX };

    /// The stamp a slot starts with.
    #[inline(always)]
    pub const fn initial(slot: u32) -> Self {
        Self { word: slot << GEN_BITS }
    }

    /// The slot, below [`HOP_SLOTS`].
    #[inline(always)]
    pub const fn slot(self) -> u32 {
        self.word >> GEN_BITS
    }

    /// Never equal to any stamp of the same slot.
    #[must_use]
    #[inline(always)]
    pub const fn of_another_slot(self) -> Self {
        Self { word: self.word ^ 1 << 31 }
    }

    /// The same slot, one generation on. Skips the one that would read as [`Self::UNRESOLVED`].
    #[must_use]
    #[inline(always)]
    pub const fn bump(self) -> Self {
        let generation = match (self.word + 1) & GEN_MASK {
            GEN_MASK => 0,
            g => g,
        };
        Self { word: (self.word & !GEN_MASK) | generation }
    }
}

/// The `way`-th slot that a next hop on an interface may stand in.
#[inline(always)]
pub const fn slot_of(ifindex: u32, next_hop: Addr, way: u32) -> u32 {
    // Fibonacci hashing; collisions are harmless, so nothing here needs a secret.
    let home = (next_hop.be ^ ifindex.rotate_left(16)).wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS);
    (home + way) & (HOP_SLOTS - 1)
}

/// An element of `HOPS`.
///
/// Who wants to write holds it by swapping `filled` for [`HopStamp::UNRESOLVED`], bumps `stamp`, writes the rest, and
/// sets `filled` to the new stamp. A reader takes what it needs and looks at `stamp` last: a bump comes before any
/// change.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct HopSlot {
    /// The slot's current stamp.
    pub stamp: HopStamp,
    /// Egress interface: index into the devmap, or [`EGRESS_KERNEL`].
    pub egress: u16,
    /// Largest IPv4 packet, in bytes, that fits the egress interface and route.
    pub mtu: u16,
    /// Next hop's address.
    pub dmac: [u8; 6],
    /// Egress interface's address.
    pub smac: [u8; 6],
    /// The stamp for which the fields before and after are right.
    pub filled: HopStamp,
    /// Whose slot it is; all zero for nobody's.
    pub next: NextHop,
}

/// Key of `IFACES` is the ifindex (u32, host order); this is its value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Iface {
    /// Index into the devmap.
    pub devmap: u16,
    /// A constant of [`crate::Side`].
    pub side: u8,
    /// Always zero.
    pub spare: u8,
    /// The interface's own address: frames for another station are not ours to translate.
    pub mac: [u8; 6],
    /// Always zero.
    pub spare2: [u8; 2],
}

/// Key of `NEXTHOPS`: a neighbour that flows are sent to, for the daemon to keep resolved. Its value is the [`crate::Stamp`]
/// of when it was noted last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct NextHop {
    /// Egress interface.
    pub ifindex: u32,
    /// Gateway, or the destination itself when it is on link.
    pub addr: Addr,
}

crate::map_value!(HopStamp, HopSlot, Iface, NextHop);
const _: () = assert!(size_of::<HopSlot>() == 32, "two slots share a cache line, none straddles one");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bump_changes_the_generation_and_keeps_the_slot() {
        for slot in [0, 1, HOP_SLOTS - 1] {
            let first = HopStamp::initial(slot);
            assert_eq!(first.slot(), slot);
            assert_eq!(first.bump().slot(), slot);
            assert_ne!(first.bump(), first);
        }
    }

    #[test]
    fn unresolved_is_never_current() {
        let last_slot = HopStamp::UNRESOLVED.slot();
        let mut s = HopStamp::initial(last_slot);
        for _ in 0..=(GEN_MASK + 2) {
            assert_ne!(s, HopStamp::UNRESOLVED);
            s = s.bump();
            assert_eq!(s.slot(), last_slot);
        }
    }

    #[test]
    fn ways_wrap_around() {
        let mut all = (0..1 << 20).map(|be| Addr { be });
        let last = all.find(|a| slot_of(0, *a, 0) == HOP_SLOTS - 1).expect("some address");
        assert_eq!(slot_of(0, last, 1), 0);
    }

    #[test]
    fn slots_are_in_range_and_spread() {
        let mut seen = std::collections::HashSet::new();
        for host in 0..4096u32 {
            let slot = slot_of(3, Addr::from_octets([10, 0, (host >> 8) as u8, host as u8]), 0);
            assert!(slot < HOP_SLOTS);
            seen.insert(slot);
        }
        assert!(seen.len() > 3_000, "4,096 neighbours over 16,384 slots used only {}", seen.len());
    }
}
