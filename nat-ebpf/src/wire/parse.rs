//! Parsing: from a frame to a [`Packet`], in the order of its headers.

use nat_common::{Addr, PassReason, Port, Proto, Reason, Tuple, Verdict, icmp, tcp};
use network_types::eth::EthHdr;

use super::{
    DONT_FRAGMENT, ETHERTYPE_IPV4, FRAGMENT_BITS, IPV4_MAX, IPV4_MIN, Ipv4, OFFSET_BITS, TCP_MIN,
    TRANSPORT_MIN, load, options, tags,
};
use crate::{
    frame::{Frame, Kind, View},
    work::{
        Work,
        packet::{Content, Fragment, Packet},
    },
};

/// Bytes that a packet's end is decided by: tags, both network headers of an ICMP error, and what follows each.
pub const MOST_BYTES: usize = EthHdr::LEN + tags::MOST_TAGS * tags::VLAN + 2 * (IPV4_MAX + TRANSPORT_MIN);

/// What a frame turned out to be.
pub enum Parsed {
    /// IPv4, with the headers that a rewrite will need.
    Ipv4(Headers),
    /// IPv4 in a link-layer broadcast or multicast frame. Of the packet only the addresses are read.
    Group,
    /// Not for translation.
    Ended(Verdict),
}

/// Pointers into the frame, bounds checked by [`frame`].
#[derive(Clone, Copy)]
pub struct Headers {
    /// Link-layer header.
    pub link: *mut u8,
    /// IPv4 header.
    pub ip: *mut u8,
    /// Transport header. Only its start is known to be in the frame.
    pub l4: *mut u8,
    /// Address behind the last byte that may be read.
    pub end: usize,
}

/// Reads the headers of a frame that arrived on `side` into the packet at hand.
#[inline(always)]
pub fn frame<F: Frame>(frame: F, side: u8, work: &mut Work) -> Parsed {
    if frame.is_anothers() {
        return unread(work, Verdict::pass(PassReason::OtherStation));
    }
    frame.pull_headers(MOST_BYTES);
    let (mut start, mut end) = (frame.start(), frame.end());
    if frame.tag_beside().is_some() || !is_ipv4(frame, start, end) {
        if let Err(verdict) = tags::take_off(frame, work) {
            return unread(work, verdict);
        }
        (start, end) = (frame.start(), frame.end());
        if !is_ipv4(frame, start, end) {
            return unread(work, Verdict::drop(Reason::BadHeader));
        }
    }
    let link = start as *mut u8;
    let ip = (start + F::LINK) as *mut u8;
    // SAFETY: `is_ipv4` checked the link-layer header and IPV4_MIN bytes. Group bit: link-layer broadcast or multicast is
    // never forwarded (RFC 1812 section 5.3.4).
    let (is_group, mut header) = unsafe { (F::LINK > 0 && load::<u8>(link, 0) & 1 != 0, Ipv4::load(ip)) };
    header.total = frame.total(header.total as u16);
    if is_group {
        (work.packet.tuple.src, work.packet.tuple.dst) = (header.src, header.dst);
        work.packet.len = 0;
        return Parsed::Group;
    }
    if !header.is_sane() {
        return unread(work, Verdict::drop(Reason::BadHeader));
    }
    let len = header.total as usize;
    // Lengths are compared, not pointers: the verifier of Linux 6.1 forgets that a byte-swapped `u16` is
    // bounded, and refuses to add it to a packet pointer.
    if F::LINK + len > end - start && F::LINK + len > frame.len() as usize {
        return unread(work, Verdict::drop(Reason::BadHeader));
    }
    network::<F>(&header, side, &mut work.packet);
    if header.header() > IPV4_MIN
        && options::has_source_route(frame, work, (F::LINK + header.header()) as u32)
    {
        return Parsed::Ended(Verdict::drop(Reason::SourceRoute));
    }
    let l4 = start + F::LINK + header.header();
    if !transport(&header, l4, end, &mut work.packet) {
        return unread(work, Verdict::drop(Reason::BadHeader));
    }
    let gso_size = frame.gso_size();
    if gso_size != 0 {
        work.packet.len = header.header() as u32 + transport_len(&header, l4, end) + gso_size;
    }
    Parsed::Ipv4(Headers { link, ip, l4: l4 as *mut u8, end })
}

/// The end of a frame whose headers could not be read.
#[inline(always)]
fn unread(work: &mut Work, verdict: Verdict) -> Parsed {
    work.packet.len = 0;
    Parsed::Ended(verdict)
}

/// Whether a frame is untagged IPv4 and long enough for it.
#[inline(always)]
fn is_ipv4<V: View>(frame: V, start: usize, end: usize) -> bool {
    // SAFETY: the link-layer header is in bounds when the second half is asked.
    start + V::LINK + IPV4_MIN <= end && unsafe { frame.ethertype(start) } == ETHERTYPE_IPV4
}

/// What the network header says.
#[inline(always)]
fn network<F: View>(header: &Ipv4, side: u8, packet: &mut Packet) {
    let Ipv4 { src, dst, proto, fragment, .. } = *header;
    *packet = Packet {
        tuple: Tuple { src, dst, sport: Port { be: 0 }, dport: Port { be: 0 }, proto, side, state: 0 },
        flags: tcp::ANY,
        len: header.total,
        l3: F::LINK as u16,
        l4: (F::LINK + header.header()) as u16,
        content: Content::Flow,
        fragment: if fragment & OFFSET_BITS != 0 {
            Fragment::Later
        } else if fragment & FRAGMENT_BITS != 0 {
            Fragment::First
        } else {
            Fragment::Whole
        },
        ttl: header.ttl,
        tos: header.tos,
        icmp_type: 0,
        dont_fragment: fragment & DONT_FRAGMENT != 0,
    };
}

/// What the transport header at address `l4` says; `false` when there must be one and it is cut short.
#[inline(always)]
fn transport(header: &Ipv4, l4: usize, end: usize, packet: &mut Packet) -> bool {
    let payload = header.total as usize - header.header();
    if header.fragment & OFFSET_BITS != 0 {
        return true;
    }
    let at = l4 as *const u8;
    if header.proto == Proto::Tcp as u8 {
        if l4 + TCP_MIN > end || payload < TCP_MIN {
            return false;
        }
        // SAFETY: TCP_MIN bytes from `at` are in bounds.
        unsafe {
            packet.tuple.sport = load(at, 0);
            packet.tuple.dport = load(at, 2);
            packet.flags = u32::from(load::<u8>(at, 13)) & tcp::TRACKED;
        }
    } else if header.proto == Proto::Udp as u8 {
        if l4 + TRANSPORT_MIN > end || payload < TRANSPORT_MIN {
            return false;
        }
        // SAFETY: TRANSPORT_MIN bytes from `at` are in bounds.
        unsafe {
            packet.tuple.sport = load(at, 0);
            packet.tuple.dport = load(at, 2);
        }
    } else if header.proto == Proto::Icmp as u8 {
        if l4 + TRANSPORT_MIN > end || payload < TRANSPORT_MIN {
            return false;
        }
        // SAFETY: TRANSPORT_MIN bytes from `at` are in bounds.
        let (icmp_type, id) = unsafe { (load::<u8>(at, 0), load::<Port>(at, 4)) };
        packet.icmp_type = icmp_type;
        match icmp_type {
            icmp::ECHO_REQUEST => packet.tuple.sport = id,
            icmp::ECHO_REPLY => packet.tuple.dport = id,
            t if icmp::is_error(t) => packet.content = Content::IcmpError,
            _ => packet.content = Content::IcmpOther,
        }
    } else {
        packet.content = Content::Other;
    }
    true
}

/// Bytes of the transport header at address `l4`, as it says itself.
#[inline(always)]
fn transport_len(header: &Ipv4, l4: usize, end: usize) -> u32 {
    if header.proto != Proto::Tcp as u8 || l4 + TCP_MIN > end {
        return TRANSPORT_MIN as u32;
    }
    // SAFETY: TCP_MIN bytes from `l4` are in bounds.
    u32::from(unsafe { load::<u8>(l4 as *const u8, 12) } >> 4) * 4
}

/// Addresses of an IPv4 packet whose network header is at offset `at` of the frame, for callers that decide by addresses alone;
/// `None` when the header is cut short or carries a source route. Nothing else about the header is checked.
#[inline(always)]
pub fn addresses<V: View>(frame: V, at: usize, work: &mut Work) -> Option<(Addr, Addr)> {
    let ip = frame.start() + at;
    if ip + IPV4_MIN > frame.end() {
        return None;
    }
    // SAFETY: IPV4_MIN bytes from `ip` are in bounds.
    let header = unsafe { Ipv4::load(ip as *const u8) };
    if header.header() > IPV4_MIN {
        work.option.set((at + IPV4_MIN) as u32);
        if options::walk(frame, work, (at + header.header()) as u32) {
            return None;
        }
    }
    Some((header.src, header.dst))
}

/// The identifier of the ICMP echo request whose network header is at offset `at`; `None` when it is none.
#[inline(always)]
pub fn echo_request<V: View>(frame: V, at: usize) -> Option<Port> {
    if at > V::LINK + tags::MOST_TAGS * tags::VLAN {
        return None;
    }
    let ip = frame.start() + at;
    if ip + IPV4_MIN > frame.end() {
        return None;
    }
    // SAFETY: IPV4_MIN bytes from `ip` are in bounds.
    let header = unsafe { Ipv4::load(ip as *const u8) };
    if header.proto != Proto::Icmp as u8 || header.fragment & OFFSET_BITS != 0 || header.header() > IPV4_MAX {
        return None;
    }
    let l4 = ip + header.header();
    if l4 + TRANSPORT_MIN > frame.end() {
        return None;
    }
    // SAFETY: TRANSPORT_MIN bytes from `l4` are in bounds.
    unsafe {
        if load::<u8>(l4 as *const u8, 0) == icmp::ECHO_REQUEST {
            Some(load(l4 as *const u8, 4))
        } else {
            None
        }
    }
}

/// Bytes of payload of a TCP segment; 0 also when its header is not in the frame, or claims to be longer than the packet.
#[inline(always)]
pub fn tcp_payload<V: View>(frame: V, packet: &Packet) -> u32 {
    let at = usize::from(packet.l4);
    if at > V::LINK + IPV4_MAX {
        return 0;
    }
    let l4 = frame.start() + at;
    if l4 + TCP_MIN > frame.end() {
        return 0;
    }
    // SAFETY: TCP_MIN bytes from `l4` are in bounds.
    let offset = u32::from(unsafe { load::<u8>(l4 as *const u8, 12) } >> 4) * 4;
    packet.len.saturating_sub(u32::from(packet.l4 - packet.l3) + offset)
}

/// Whether the packet spans several buffers of XDP's, each a place of its own for the program to look.
#[inline(always)]
pub fn has_frags<V: View>(frame: V, packet: &Packet) -> bool {
    matches!(V::KIND, Kind::Xdp) && V::LINK + packet.len as usize > frame.end() - frame.start()
}

/// Destination address of the link-layer header; zero when there is none.
#[inline(always)]
pub fn station<V: View>(frame: V) -> [u8; 6] {
    let start = frame.start();
    if start + V::LINK > frame.end() {
        return [0; 6];
    }
    // SAFETY: the link-layer header is in bounds.
    unsafe { load(start as *const u8, 0) }
}
