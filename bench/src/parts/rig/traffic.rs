//! The flows that every gateway carries, and the list of packets that the generator makes of them.

use std::net::Ipv4Addr;

use nat_bench_ebpf::header::{eth, udp};
use nat_bench_ebpf::layout::rig::Visit;
use nat_common::{Port, Proto, Side, Tuple, checksum};

use super::addresses::CLIENT;
use crate::conntrack;

/// The first destination's network (RFC 2544's benchmark range).
const FIRST_DESTINATION: u32 = u32::from_be_bytes([198, 18, 0, 1]);
const DESTINATIONS: u32 = 64;
const FIRST_PORT: u32 = 10_000;
const DESTINATION_PORT: u16 = 443;

/// Largest number of flows: 15,625 source ports by 64 destinations.
pub const MAX_FLOWS: u32 = conntrack::MAX_FLOWS;

/// How long the frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Size {
    /// All of this length in bytes, Ethernet header included, frame check sequence not.
    Fixed(u16),
    /// 7:4:1 of 64, 570 and 1514 bytes.
    Imix,
}

impl Size {
    const IMIX: [u16; 12] = [64, 570, 64, 64, 1514, 64, 570, 64, 570, 64, 64, 570];

    /// Length of the longest frame, in bytes.
    pub fn longest(self) -> u16 {
        match self {
            Self::Fixed(length) => length,
            Self::Imix => 1514,
        }
    }

    /// Length of the frame at a place of the list, in bytes.
    fn at(self, place: usize) -> u16 {
        match self {
            Self::Fixed(length) => length,
            Self::Imix => Self::IMIX[place % Self::IMIX.len()],
        }
    }

    /// Packets after which the mix repeats.
    fn period(self) -> u32 {
        match self {
            Self::Fixed(_) => 1,
            Self::Imix => 12,
        }
    }
}

impl std::fmt::Display for Size {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fixed(length) => write!(f, "{length}"),
            Self::Imix => f.write_str("imix"),
        }
    }
}

/// In which order the flows take their turns. Every flow once, then all over again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they were created.
    Sequential,
    /// Shuffled, always in the same way.
    Random,
}

/// The tuple of a flow, as it arrives at the gateway from inside.
pub fn tuple(flow: u32) -> Tuple {
    let destination = Ipv4Addr::from(FIRST_DESTINATION + flow % DESTINATIONS);
    let port = u16::try_from(FIRST_PORT + flow / DESTINATIONS).unwrap_or(u16::MAX);
    Tuple {
        src: CLIENT.into(),
        dst: destination.into(),
        sport: Port::new(port),
        dport: Port::new(DESTINATION_PORT),
        proto: Proto::Udp as u8,
        side: Side::INSIDE,
        state: 0,
    }
}

/// A packet of the list, for those who check what became of it.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    /// As it arrives at the gateway.
    pub tuple: Tuple,
    /// Length of the frame in bytes.
    pub frame: u16,
}

impl From<&Visit> for Sent {
    fn from(v: &Visit) -> Self {
        Self { tuple: Tuple { dst: v.dst, sport: v.ports[0], dport: v.ports[1], ..tuple(0) }, frame: v.frame }
    }
}

/// The list for the first `flows` flows.
pub fn visits(flows: u32, size: Size, order: Order) -> Vec<Visit> {
    let mut turns: Vec<u32> = (0..flows).collect();
    if order == Order::Random {
        shuffle(&mut turns);
    }
    let rounds = if flows < size.period() { size.period() } else { 1 };
    let turns = (0..rounds).flat_map(|_| &turns);
    turns.enumerate().map(|(place, flow)| visit(&tuple(*flow), place, size.at(place))).collect()
}

/// A list of one small packet for each of some flows, in order: with them, flows are created.
pub fn greetings(flows: std::ops::Range<u32>) -> Vec<Visit> {
    flows.enumerate().map(|(place, flow)| visit(&tuple(flow), place, 64)).collect()
}

fn visit(t: &Tuple, place: usize, frame: u16) -> Visit {
    // 16 bits of the place in the list, so that a capture tells packets of one flow apart.
    let id = (place & 0xffff) as u16;
    let (total, datagram) =
        ((frame - eth::LEN as u16).to_be_bytes(), (frame - udp::SPORT as u16).to_be_bytes());
    let mut ip = [0u8; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&total);
    ip[4..6].copy_from_slice(&id.to_ne_bytes());
    ip[6] = 0x40;
    (ip[8], ip[9]) = (64, Proto::Udp as u8);
    ip[12..16].copy_from_slice(&t.src.octets());
    ip[16..20].copy_from_slice(&t.dst.octets());
    // Pseudo-header and UDP header; the payload is zeros.
    let mut udp = [0u8; 20];
    udp[0..4].copy_from_slice(&t.src.octets());
    udp[4..8].copy_from_slice(&t.dst.octets());
    udp[9] = Proto::Udp as u8;
    udp[10..12].copy_from_slice(&datagram);
    udp[12..14].copy_from_slice(&t.sport.be.to_ne_bytes());
    udp[14..16].copy_from_slice(&t.dport.be.to_ne_bytes());
    udp[16..18].copy_from_slice(&datagram);
    let udp_checksum = match checksum::full(&udp) {
        0 => 0xffff,
        c => c,
    };
    Visit { dst: t.dst, ports: [t.sport, t.dport], id, ip_checksum: checksum::full(&ip), udp_checksum, frame }
}

/// Fisher-Yates with a fixed seed (xorshift64*).
fn shuffle(items: &mut [u32]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for last in (1..items.len()).rev() {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let draw = state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32;
        let at = usize::try_from(draw).unwrap_or(0) % (last + 1);
        items.swap(last, at);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use nat_bench_ebpf::header::{DONT_FRAGMENT, ETHERTYPE_IPV4, TTL_AND_UDP, VERSION_AND_IHL, ip};
    use nat_tests::packet::Parsed;

    use super::*;

    /// As the generator writes it.
    fn frame(v: &Visit) -> Vec<u8> {
        let mut frame = vec![0u8; usize::from(v.frame)];
        let mut put = |at: usize, bytes: &[u8]| frame[at..at + bytes.len()].copy_from_slice(bytes);
        put(eth::TYPE, &ETHERTYPE_IPV4.to_ne_bytes());
        put(ip::VERSION, &[VERSION_AND_IHL]);
        put(ip::TOTAL, &(v.frame - eth::LEN as u16).to_be_bytes());
        put(ip::ID, &v.id.to_ne_bytes());
        put(ip::FRAGMENT, &DONT_FRAGMENT.to_ne_bytes());
        put(ip::TTL, &TTL_AND_UDP.to_ne_bytes());
        put(ip::CHECKSUM, &v.ip_checksum.to_ne_bytes());
        put(ip::SRC, &CLIENT.octets());
        put(ip::DST, &v.dst.octets());
        put(udp::SPORT, &v.ports[0].be.to_ne_bytes());
        put(udp::DPORT, &v.ports[1].be.to_ne_bytes());
        put(udp::LENGTH, &(v.frame - udp::SPORT as u16).to_be_bytes());
        put(udp::CHECKSUM, &v.udp_checksum.to_ne_bytes());
        frame
    }

    #[test]
    fn checksums_are_right_in_every_size() {
        for size in [Size::Fixed(64), Size::Fixed(1500), Size::Imix] {
            for v in visits(5000, size, Order::Random) {
                let packet = Parsed::from_frame(&frame(&v)).unwrap();
                assert!(packet.checksums_ok() && packet.l4_checksum != Some(0), "{packet}");
            }
        }
    }

    #[test]
    fn every_flow_has_its_turn_in_either_order() {
        for order in [Order::Sequential, Order::Random] {
            let list = visits(100_000, Size::Fixed(64), order);
            let tuples: BTreeSet<_> = list.iter().map(|v| (v.dst.be, v.ports[0].be)).collect();
            assert_eq!((list.len(), tuples.len()), (100_000, 100_000));
        }
    }

    #[test]
    fn the_last_flow_has_a_port_of_its_own() {
        let last = tuple(MAX_FLOWS - 1);
        assert_eq!(last.sport.host(), 10_000 + 15_624);
        assert_eq!(last.dst.octets(), [198, 18, 0, 64]);
    }

    #[test]
    fn the_mix_is_the_mix_also_for_one_flow() {
        let lengths: Vec<u16> = visits(1, Size::Imix, Order::Random).iter().map(|v| v.frame).collect();
        let count = |length| lengths.iter().filter(|l| **l == length).count();
        assert_eq!((count(64), count(570), count(1514), lengths.len()), (7, 4, 1, 12));
    }
}
