//! Packets as the driver makes them: one frame, and what changes from visit to visit.

use std::net::{Ipv4Addr, SocketAddrV4};

use anyhow::{Context as _, Result, ensure};
use nat_bench_ebpf::layout::driver::{HEAD, Job, Visit};
use nat_common::checksum::{self, Delta};
use nat_tests::packet::{ETH, Packet};

use super::visits::List;

/// A frame, and where in it a visit's fields go.
#[derive(Clone, Debug)]
pub struct Template {
    frame: Vec<u8>,
    addresses_at: usize,
    ports_at: usize,
    l4_checksum_at: usize,
    /// Applies a change to the transport checksum.
    update: fn(u16, u16) -> u16,
}

impl Template {
    /// A UDP or TCP packet, or the first fragment of one, without IPv4 options.
    pub fn plain(packet: &Packet) -> Self {
        let is_tcp = packet.proto() == 6;
        Self {
            frame: packet.build(),
            addresses_at: ETH + 12,
            ports_at: ETH + 20,
            l4_checksum_at: ETH + 20 + if is_tcp { 16 } else { 6 },
            update: if is_tcp { checksum::apply } else { checksum::apply_udp },
        }
    }

    /// An ICMP error: visits change what it embeds.
    pub fn icmp_error(packet: &Packet) -> Self {
        let inner = ETH + 20 + 8;
        Self {
            frame: packet.build(),
            addresses_at: inner + 12,
            ports_at: inner + 20,
            l4_checksum_at: ETH + 20 + 2,
            update: checksum::apply,
        }
    }

    /// What the frame itself holds.
    fn original(&self) -> Result<Visit> {
        Ok(Visit {
            src: u32::from_ne_bytes(self.read(self.addresses_at)?),
            dst: u32::from_ne_bytes(self.read(self.addresses_at + 4)?),
            ports: u32::from_ne_bytes(self.read(self.ports_at)?),
            ip_checksum: u16::from_ne_bytes(self.read(self.addresses_at - 2)?),
            l4_checksum: u16::from_ne_bytes(self.read(self.l4_checksum_at)?),
        })
    }

    fn read<const N: usize>(&self, at: usize) -> Result<[u8; N]> {
        let bytes = self.frame.get(at..at + N).context("the template is too short")?;
        Ok(bytes.try_into()?)
    }

    /// The visits of these tuples: the same, with the checksums that this frame then has.
    pub fn visits(&self, tuples: &[Pair]) -> Result<Vec<Visit>> {
        let own = self.original()?;
        // An ICMP checksum covers no pseudo-header, and the embedded header's sum does not change.
        let has_pseudo_header = self.addresses_at < ETH + 20;
        let visit = |pair: &Pair| {
            let (src, dst, ports) = (be(*pair.from.ip()), be(*pair.to.ip()), pair.ports());
            let ip = Delta::new().dword(own.src, src).dword(own.dst, dst).fold();
            let l4 = Delta::new().dword(own.ports, ports);
            let l4 = if has_pseudo_header { l4.word(!0, ip) } else { l4 }.fold();
            Visit {
                src,
                dst,
                ports,
                ip_checksum: checksum::apply(own.ip_checksum, ip),
                l4_checksum: (self.update)(own.l4_checksum, l4),
            }
        };
        Ok(tuples.iter().map(visit).collect())
    }
}

/// The two ends of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// Source.
    pub from: SocketAddrV4,
    /// Destination.
    pub to: SocketAddrV4,
}

impl Pair {
    /// The way back.
    pub fn reversed(self) -> Self {
        Self { from: self.to, to: self.from }
    }

    fn ports(self) -> u32 {
        let ([a, b], [c, d]) = (self.from.port().to_be_bytes(), self.to.port().to_be_bytes());
        u32::from_ne_bytes([a, b, c, d])
    }
}

impl From<Visit> for Pair {
    fn from(visit: Visit) -> Self {
        let [a, b, c, d] = visit.ports.to_ne_bytes();
        let address = |be: u32| Ipv4Addr::from(be.to_ne_bytes());
        Self {
            from: SocketAddrV4::new(address(visit.src), u16::from_be_bytes([a, b])),
            to: SocketAddrV4::new(address(visit.dst), u16::from_be_bytes([c, d])),
        }
    }
}

fn be(address: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(address.octets())
}

/// Packets of one kind that arrive on one interface, and how far the walk over them has come.
#[derive(Clone, Debug)]
pub struct Traffic {
    /// The frame to start with.
    pub frame: Vec<u8>,
    /// Interface that it arrives on.
    pub ifindex: u32,
    /// The visits.
    pub list: List,
    /// Index of the next visit.
    pub next: u32,
    template: Template,
}

impl Traffic {
    /// Starts at the first visit of the list.
    pub fn new(template: &Template, ifindex: u32, list: List) -> Result<Self> {
        ensure!(template.frame.len() >= HEAD, "a frame is shorter than its headers");
        let frame = template.frame.clone();
        Ok(Self { frame, ifindex, list, next: list.first, template: template.clone() })
    }

    /// What the driver is told.
    pub fn job(&self, harvest: u32) -> Job {
        let mut head = [0u64; HEAD / 8];
        bytemuck::cast_slice_mut(&mut head).copy_from_slice(&self.frame[..HEAD]);
        Job {
            next: self.next,
            first: self.list.first,
            end: self.list.first + self.list.count,
            harvest,
            addresses_at: self.template.addresses_at as u32,
            ports_at: self.template.ports_at as u32,
            l4_checksum_at: self.template.l4_checksum_at as u32,
            spare: 0,
            head,
        }
    }
}

/// Shuffles with a fixed seed: every run visits in the same order, and that order has nothing to do with the one in
/// which flows were created.
pub fn shuffle<T>(items: &mut [T], seed: u64) {
    let mut random = Random(seed);
    for i in (1..items.len()).rev() {
        items.swap(i, random.below(i as u64 + 1) as usize);
    }
}

/// `SplitMix64`: small, and good enough to have no pattern that a prefetcher could learn.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`. The bias is far below what a shuffle could show.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use nat_bench_ebpf::header::{ip, udp};
    use nat_tests::packet::{Parsed, flags};

    use super::*;

    #[test]
    fn visits_have_the_checksums_of_their_frames() {
        let address = |n: u8, port| SocketAddrV4::new(Ipv4Addr::new(10, 0, n, 1), port);
        let (a, b) = (address(1, 1000), address(2, 2000));
        for packet in [Packet::udp(a, b), Packet::tcp(a, b, flags::ACK)] {
            let template = Template::plain(&packet);
            let mut random = Random(1);
            for _ in 0..1000 {
                let n = random.next();
                let pair = Pair { from: address(n as u8, (n >> 8) as u16), to: address(9, (n >> 24) as u16) };
                let visit = template.visits(&[pair]).unwrap()[0];
                let mut frame = template.frame.clone();
                frame[24..26].copy_from_slice(&visit.ip_checksum.to_ne_bytes());
                frame[ip::SRC..ip::DST].copy_from_slice(&visit.src.to_ne_bytes());
                frame[ip::DST..udp::SPORT].copy_from_slice(&visit.dst.to_ne_bytes());
                frame[udp::SPORT..udp::LENGTH].copy_from_slice(&visit.ports.to_ne_bytes());
                let at = template.l4_checksum_at;
                frame[at..at + 2].copy_from_slice(&visit.l4_checksum.to_ne_bytes());
                assert!(Parsed::from_frame(&frame).unwrap().checksums_ok(), "{pair:?}");
                assert_eq!(Pair::from(visit), pair);
            }
        }
    }

    #[test]
    fn a_shuffle_keeps_everything_and_leaves_no_order() {
        let mut items: Vec<u32> = (0..10_000).collect();
        shuffle(&mut items, 7);
        let neighbours = items.windows(2).filter(|w| w[0].abs_diff(w[1]) <= 1).count();
        assert!(neighbours < 20, "{neighbours}");
        items.sort_unstable();
        assert!(items.iter().zip(0..).all(|(a, b)| *a == b));
    }
}
