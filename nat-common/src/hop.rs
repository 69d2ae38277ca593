//! Hops: where a frame goes next. Resolved once, kept in a slot that all flows with the same next hop share.
//!
//! A flow entry keeps a [`HopStamp`]: the slot, and the slot's generation when the flow resolved its hop. The slot is
//! good for the flow while its stamp is still that. The daemon bumps the stamp when the neighbour changes, the packet
//! path when it gives the slot to another next hop; then every flow that used it resolves its hop again, once.

use bytemuck::{Pod, Zeroable};

use crate::nh::HashKey;
use crate::tuple::Addr;

/// Slots of `HOPS`. A next hop stands in one of [`HOP_WAYS`] slots from the one that its hash names.
pub const HOP_SLOTS: u32 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 14;
const GEN_BITS: u32 = 32 - SLOT_BITS;
const GEN_MASK: u32 = (1 << GEN_BITS) - 1;

/// Slots that a next hop may stand in. When all are taken by others, its flows resolve their hop with every packet, unless
/// [`TAKEOVERS_PER_SECOND`] lets it have one of them.
pub const HOP_WAYS: u32 = 8;

/// Slots in use that one CPU may give to another next hop, or to another answer of the FIB, per second.
///
/// Each costs whoever uses the slot a resolution, and a generation. A flow that is idle for longer than a minute forgets its
/// stamp, so a stale stamp passes only if its slot is given a new generation exactly 2^18 times within a minute. The daemon
/// starts at most [`BUMPS_PER_SECOND`]. With 1,024 CPUs that makes (1,024 * 4 + 40) * 60 = 248,160, less than 2^18.
pub const TAKEOVERS_PER_SECOND: u32 = 4;

/// Generations of one slot that the daemon starts per second at most.
pub const BUMPS_PER_SECOND: u32 = 40;

const _: () = assert!((1024 * TAKEOVERS_PER_SECOND + BUMPS_PER_SECOND) * 60 < 1 << GEN_BITS);

/// [`HopSlot::egress`] of a hop that natgw does not transmit to itself: the kernel forwards the translated packet
/// (tunnel, bridge, VLAN sub-interface).
pub const EGRESS_KERNEL: u16 = u16::MAX;

/// Managed interfaces at most: the size of the devmap.
pub const MAX_INTERFACES: u32 = 64;

/// A hop slot (upper 14 bits) and the slot's generation (lower 18).
///
/// Keeping both in one word makes the fast path's staleness check one comparison. [`TAKEOVERS_PER_SECOND`] says why a
/// generation never comes round while a flow remembers it.
#[repr(transparent)]
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

/// The `way`-th slot that a next hop may stand in. Keyed, so that nobody who chooses addresses can choose whose slots they
/// fall on.
#[inline(always)]
pub const fn slot_of(key: &HashKey, next: &NextHop, way: u32) -> u32 {
    (key.slot(next.ifindex, next.addr, HOP_SLOTS) + way) & (HOP_SLOTS - 1)
}

/// An element of `HOPS`.
///
/// A CPU that wants to write it first makes it its own by swapping `filled` for [`HopStamp::UNRESOLVED`]. Then it bumps `stamp`,
/// writes the rest, and sets `filled` to the new stamp. A reader takes what it needs and looks at `stamp` last: because a bump
/// comes before any change, an unchanged stamp says that what it took belongs together.
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
    /// The stamp for which all other fields are right. While it differs from `stamp`, the slot holds no answer;
    /// [`HopStamp::UNRESOLVED`] while a CPU is writing it.
    pub filled: HopStamp,
    /// Whose slot it is; all zero for nobody's.
    pub next: NextHop,
}

/// Whether the source of a packet from inside must be reachable by the interface that it came by (RFC 3704).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Rpf {
    /// It is not asked for: the source may be anybody's but this host's.
    Off = 0,
    /// It must be reachable, by whatever interface.
    Loose = 1,
    /// It must be reachable by the interface that the packet came by: one of the routes to it leads there.
    Strict = 2,
}

impl Rpf {
    /// As in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Loose => "loose",
            Self::Strict => "strict",
        }
    }
}

/// Networks of an interface whose broadcast address natgw knows.
pub const BROADCASTS: usize = 4;

/// Key of `IFACES` is the ifindex (u32, host order); this is its value.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Iface {
    /// Index into the devmap.
    pub devmap: u16,
    /// A constant of [`crate::Side`].
    pub side: u8,
    /// [`Rpf`] as a number: what the configuration says, or the host's own `rp_filter` where that was stricter.
    pub rpf: u8,
    /// The interface's own address: frames for another station are not ours to translate. All zero for a device without
    /// link-layer header (`WireGuard`, TUN, PPP).
    pub mac: [u8; 6],
    /// 1 when the host forwarded what came by this interface before natgw made it.
    pub forwarded: u8,
    /// Always zero.
    pub spare: u8,
    /// Source of what natgw itself sends to inside hosts by this interface; unspecified when it has no such address.
    pub inside_addr: Addr,
    /// Source of what natgw itself sends to outside hosts by this interface; unspecified when it has no such address.
    pub outside_addr: Addr,
    /// Broadcast addresses of its networks; unspecified for none.
    pub broadcasts: [Addr; BROADCASTS],
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

    const KEY: HashKey = HashKey { words: [11, 22, 33, 44], multiplier: 0x9e37_79b9_7f4a_7c15 };

    #[test]
    fn ways_wrap_around() {
        let mut all = (0..1 << 20).map(|be| NextHop { ifindex: 1, addr: Addr { be } });
        let last = all.find(|n| slot_of(&KEY, n, 0) == HOP_SLOTS - 1).expect("some address");
        assert_eq!(slot_of(&KEY, &last, 1), 0);
    }

    #[test]
    fn the_key_decides_who_shares_a_slot() {
        let other = HashKey { words: [5, 6, 7, 8], ..KEY };
        let hops = (0..2000u32).map(|n| NextHop { ifindex: 2, addr: Addr { be: (0x0a00_0000 + n).to_be() } });
        let same = hops.clone().filter(|n| slot_of(&KEY, n, 0) == slot_of(&other, n, 0)).count();
        assert!(same < 20, "{same} of 2,000 next hops have one slot under two keys");
    }

    #[test]
    fn slots_are_in_range_and_spread() {
        let mut seen = std::collections::HashSet::new();
        for host in 0..4096u32 {
            let addr = Addr::from_octets([10, 0, (host >> 8) as u8, host as u8]);
            let slot = slot_of(&KEY, &NextHop { ifindex: 3, addr }, 0);
            assert!(slot < HOP_SLOTS);
            seen.insert(slot);
        }
        assert!(seen.len() > 3_000, "4,096 neighbours over 16,384 slots used only {}", seen.len());
    }
}
