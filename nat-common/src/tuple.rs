//! The key of the flow table: a packet's tuple as it arrives on the wire.

use bytemuck::{Pod, Zeroable};

/// An IPv4 address in network byte order, exactly as it sits in the packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Addr {
    /// Network byte order.
    pub be: u32,
}

impl Addr {
    /// From dotted-quad order: `[10, 0, 0, 2]` is 10.0.0.2.
    #[inline(always)]
    pub const fn from_octets(octets: [u8; 4]) -> Self {
        Self { be: u32::from_ne_bytes(octets) }
    }

    /// Dotted-quad order.
    #[inline(always)]
    pub const fn octets(self) -> [u8; 4] {
        self.be.to_ne_bytes()
    }

    /// Host byte order, for arithmetic and comparisons of magnitude.
    #[inline(always)]
    pub const fn host(self) -> u32 {
        u32::from_be(self.be)
    }

    /// Multicast (RFC 5771) and limited broadcast (RFC 919): for many hosts at once.
    #[inline(always)]
    pub const fn is_group(self) -> bool {
        let h = self.host();
        h >> 28 == 0xe || h == u32::MAX
    }

    /// Addresses that natgw never translates to: 0/8, loopback, link-local, multicast, class E and
    /// limited broadcast (RFC 6890 section 2.2.2; RFC 5771).
    #[inline(always)]
    pub const fn is_never_translated(self) -> bool {
        let h = self.host();
        h >> 24 == 0 || h >> 24 == 127 || h >> 16 == 0xa9fe || h >> 28 >= 0xe
    }
}

#[cfg(any(test, feature = "user"))]
impl From<core::net::Ipv4Addr> for Addr {
    fn from(a: core::net::Ipv4Addr) -> Self {
        Self::from_octets(a.octets())
    }
}

#[cfg(any(test, feature = "user"))]
impl From<Addr> for core::net::Ipv4Addr {
    fn from(a: Addr) -> Self {
        Self::from(a.octets())
    }
}

/// A TCP or UDP port, or an ICMP query identifier, in network byte order.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Port {
    /// Network byte order.
    pub be: u16,
}

impl Port {
    /// From host order.
    #[inline(always)]
    pub const fn new(host: u16) -> Self {
        Self { be: host.to_be() }
    }

    /// Host byte order.
    #[inline(always)]
    pub const fn host(self) -> u16 {
        u16::from_be(self.be)
    }
}

/// The protocols that natgw translates, by IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Proto {
    /// ICMP queries (echo).
    Icmp = 1,
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Proto {
    /// Every protocol, in the order in which per-protocol arrays are indexed.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Icmp];

    /// From the IPv4 header's protocol field.
    #[inline(always)]
    pub const fn from_number(n: u8) -> Option<Self> {
        match n {
            1 => Some(Self::Icmp),
            6 => Some(Self::Tcp),
            17 => Some(Self::Udp),
            _ => None,
        }
    }

    /// Index into per-protocol arrays: TCP 0, UDP 1, ICMP 2.
    #[inline(always)]
    pub const fn index(self) -> usize {
        match self {
            Self::Tcp => 0,
            Self::Udp => 1,
            Self::Icmp => 2,
        }
    }

    /// Lower-case name, as in JSON, labels and flags.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
        }
    }
}

/// Which wire a tuple arrives on. Part of the key, so a packet forged on the wrong side misses.
pub struct Side;

impl Side {
    /// Arrives on an inside interface.
    pub const INSIDE: u8 = 0;
    /// Arrives on an outside interface.
    pub const OUTSIDE: u8 = 1;
    /// One-armed gateway: the one wire is both sides.
    pub const ONEARM: u8 = 2;

    /// The side on which the answers to a tuple arriving on `side` are expected.
    #[inline(always)]
    pub const fn opposite(side: u8) -> u8 {
        Self::opposite_unless(side, 0)
    }

    /// [`Self::opposite`], but the same side where `same` is 1.
    #[inline(always)]
    pub const fn opposite_unless(side: u8, same: u8) -> u8 {
        // INSIDE and OUTSIDE differ by their lowest bit, ONEARM has the next one.
        side ^ (!same & !(side >> 1) & 1)
    }
}

/// A packet's tuple as it arrives on the wire: the key of `FLOWS`.
///
/// For ICMP queries the identifier stands where the querier's port would: in `sport` of an echo request,
/// in `dport` of an echo reply; the other port is 0. So the answer to a tuple is always its mirror.
///
/// Aligned to be compared as two words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
pub struct Tuple {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port, or the identifier of an ICMP echo request.
    pub sport: Port,
    /// Destination port, or the identifier of an ICMP echo reply.
    pub dport: Port,
    /// IANA protocol number.
    pub proto: u8,
    /// A constant of [`Side`].
    pub side: u8,
    /// Zero, but in the table's own copy: there it is the state of the slot, a constant of
    /// [`SlotState`](crate::table::SlotState).
    pub state: u16,
}

impl Tuple {
    /// The first word: both addresses.
    #[inline(always)]
    pub fn addresses(&self) -> u64 {
        let [addresses, _]: [u64; 2] = bytemuck::cast(*self);
        addresses
    }

    /// The second word: everything else.
    #[inline(always)]
    pub fn rest(&self) -> u64 {
        let [_, rest]: [u64; 2] = bytemuck::cast(*self);
        rest
    }

    /// The second word with this `state`.
    #[inline(always)]
    pub fn rest_at(&self, state: u16) -> u64 {
        with_state(self.rest(), state)
    }
}

/// The second word of a key with its state set to this.
#[inline(always)]
pub const fn with_state(rest: u64, state: u16) -> u64 {
    rest & !STATE_MASK | (state as u64) << STATE_SHIFT
}

/// Where [`Tuple::state`] is in the second word, whose bytes are in memory order.
const STATE_SHIFT: u32 = if cfg!(target_endian = "little") { 48 } else { 0 };
const STATE_MASK: u64 = 0xffff << STATE_SHIFT;

/// The state of a slot, given the second word of its key.
#[inline(always)]
pub const fn state_of(rest: u64) -> u16 {
    (rest >> STATE_SHIFT) as u16
}

crate::map_value!(Addr, Port, Tuple);
const _: () = assert!(size_of::<Tuple>() == 16, "a larger key does not fit a flow entry into its cache line");

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv4Addr;

    #[test]
    fn wire_order_is_memory_order() {
        let a = Addr::from(Ipv4Addr::new(10, 0, 0, 2));
        assert_eq!(bytemuck::bytes_of(&a), [10, 0, 0, 2]);
        assert_eq!(a.host(), 0x0a00_0002);
        assert_eq!(bytemuck::bytes_of(&Port::new(443)), [0x01, 0xbb]);
        assert_eq!(Port::new(443).host(), 443);
    }

    #[test]
    fn never_translated() {
        for (a, never) in [
            ([0, 1, 2, 3], true),
            ([127, 0, 0, 1], true),
            ([169, 254, 169, 254], true),
            ([224, 0, 0, 251], true),
            ([239, 255, 255, 255], true),
            ([240, 0, 0, 1], true),
            ([255, 255, 255, 255], true),
            ([169, 253, 0, 1], false),
            ([223, 255, 255, 255], false),
            ([1, 1, 1, 1], false),
            ([10, 0, 0, 1], false),
        ] {
            assert_eq!(Addr::from_octets(a).is_never_translated(), never, "{a:?}");
        }
    }

    #[test]
    fn groups() {
        for (a, group) in [
            ([224, 0, 0, 1], true),
            ([239, 1, 1, 1], true),
            ([255; 4], true),
            ([240, 0, 0, 1], false),
            ([223, 255, 255, 255], false),
        ] {
            assert_eq!(Addr::from_octets(a).is_group(), group, "{a:?}");
        }
    }

    #[test]
    fn the_second_word_tells_the_state() {
        let tuple =
            Tuple { sport: Port::new(40_000), dport: Port::new(443), proto: 6, side: 1, ..Tuple::default() };
        for state in [0, 1, 2, u16::MAX] {
            let stated = Tuple { state, ..tuple };
            assert_eq!(tuple.rest_at(state), stated.rest());
            assert_eq!(stated.rest_at(0), tuple.rest());
            assert_eq!(state_of(stated.rest()), state);
        }
    }

    #[test]
    fn opposite_side() {
        assert_eq!(Side::opposite(Side::INSIDE), Side::OUTSIDE);
        assert_eq!(Side::opposite(Side::OUTSIDE), Side::INSIDE);
        assert_eq!(Side::opposite(Side::ONEARM), Side::ONEARM);
    }
}
