//! The only pointer arithmetic on packets: parsing headers, and writing the translated fields back.
//!
//! Loads are of natural size although an IPv4 header behind an Ethernet header is only 2-aligned: the
//! verifier does not ask for alignment in packets on x86-64 and arm64, and byte-wise loads cost three times
//! the instructions.

use aya_ebpf::{bindings::xdp_md, helpers::generated::bpf_xdp_get_buff_len, programs::XdpContext};
use nat_common::{Addr, Port, Proto, Tuple, checksum, icmp, tcp};

use crate::{table::flow::Flow, wire::options, wire::tags};

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Bytes of an IPv4 header without options.
pub const IPV4_MIN: usize = 20;

/// Ethertype of IPv4, network byte order.
pub const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const ETHERTYPE_VLAN: u16 = 0x8100u16.to_be();
const ETHERTYPE_QINQ: u16 = 0x88a8u16.to_be();

const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();
/// The offset of a fragment, network byte order.
pub const OFFSET_BITS: u16 = 0x1fffu16.to_be();

/// What kind of IPv4 packet it is, as far as the flow table is concerned.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Has a tuple.
    Flow,
    /// First fragment: has ports (in `tuple`), but the datagram is not whole.
    FirstFragment,
    /// Later fragment: no ports.
    LaterFragment,
    /// ICMP error; `tuple` holds outer addresses only.
    IcmpError,
    /// Another ICMP message.
    IcmpOther,
    /// A protocol without ports, or with ports that natgw does not know.
    OtherProto,
}

/// What the slow path needs to know of a packet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Packet {
    /// The key. Ports are zero unless the kind has them.
    pub tuple: Tuple,
    /// Offset of the transport header from the start of the frame.
    pub l4: u32,
    /// TCP flags that natgw tracks, or [`tcp::ANY`].
    pub flags: u32,
    /// IPv4 total length in bytes.
    pub len: u32,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// ICMP type, when the protocol is ICMP.
    pub icmp_type: u8,
    /// What it is.
    pub kind: Kind,
    /// 1: may not be fragmented.
    pub df: u8,
}

/// What a frame turned out to be.
pub enum Parsed {
    /// IPv4, with the headers that [`rewrite`] will need.
    Ipv4(Headers),
    /// IPv4 in a link-layer broadcast or multicast frame.
    Group(Addresses),
    /// IPv4 with a source route. The packet is read as far as its addresses.
    SourceRoute,
    /// Malformed IPv4.
    BadHeader,
    /// Not IPv4, or not of this network: the XDP action, counted.
    Ended(u32),
}

/// Source and destination of a packet that is not looked at further.
#[derive(Clone, Copy)]
pub struct Addresses {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
}

/// Whether an ethertype (network byte order) is that of a VLAN tag (`eth_type_vlan` of `include/linux/if_vlan.h`).
#[inline(always)]
pub const fn is_vlan(ethertype: u16) -> bool {
    ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_QINQ
}

/// Pointers into the frame, bounds checked by [`parse`].
#[derive(Clone, Copy)]
pub struct Headers {
    ethernet: *mut u8,
    ip: *mut u8,
    l4: *mut u8,
    end: usize,
}

/// # Safety
/// `base + offset` is the start of a `T` within the frame.
#[inline(always)]
pub unsafe fn load<T: Copy>(base: *mut u8, offset: usize) -> T {
    // SAFETY: the caller's promise; alignment as the module says.
    unsafe { base.add(offset).cast::<T>().read() }
}

/// # Safety
/// As [`load`].
#[inline(always)]
pub unsafe fn store<T: Copy>(base: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().write(value) }
}

/// Reads the headers of a frame that arrived on `side` into `packet`.
#[inline(always)]
pub fn parse(ctx: &XdpContext, side: u8, packet: &mut Packet) -> Parsed {
    let (mut start, mut end) = (ctx.data(), ctx.data_end());
    if !is_ipv4(start, end) {
        match tags::decide(ctx) {
            tags::UNTAGGED => {}
            action => return Parsed::Ended(action),
        }
        (start, end) = (ctx.data(), ctx.data_end());
        if !is_ipv4(start, end) {
            return Parsed::BadHeader;
        }
    }
    let ethernet = start as *mut u8;
    let ip = (start + ETHERNET) as *mut u8;
    // SAFETY: `is_ipv4` checked ETHERNET and IPV4_MIN bytes. Group bit: link-layer broadcast or multicast is never
    // forwarded (RFC 1812 section 5.3.4).
    if unsafe { load::<u8>(ethernet, 0) } & 1 != 0 {
        // SAFETY: as before.
        return Parsed::Group(unsafe { Addresses { src: load(ip, 12), dst: load(ip, 16) } });
    }
    // SAFETY: IPV4_MIN bytes from `ip` are in bounds.
    let (version_ihl, tos, total, fragment, ttl, proto, src, dst) = unsafe {
        (
            load::<u8>(ip, 0),
            load::<u8>(ip, 1),
            u16::from_be(load(ip, 2)),
            load::<u16>(ip, 6),
            load::<u8>(ip, 8),
            load::<u8>(ip, 9),
            load::<Addr>(ip, 12),
            load::<Addr>(ip, 16),
        )
    };
    let header = usize::from(version_ihl & 0xf) * 4;
    let len = usize::from(total);
    if version_ihl >> 4 != 4 || header < IPV4_MIN || len < header {
        return Parsed::BadHeader;
    }
    // Lengths are compared, not pointers: the verifier of Linux 6.1 forgets that a byte-swapped `u16` is
    // bounded, and refuses to add it to a packet pointer.
    if ETHERNET + len > end - start && ETHERNET + len > frame_len(ctx) {
        return Parsed::BadHeader;
    }
    *packet = Packet {
        tuple: Tuple { src, dst, sport: Port { be: 0 }, dport: Port { be: 0 }, proto, side, place: 0 },
        l4: (ETHERNET + header) as u32,
        flags: tcp::ANY,
        len: len as u32,
        ttl,
        tos,
        icmp_type: 0,
        kind: Kind::Flow,
        df: u8::from(fragment & DONT_FRAGMENT != 0),
    };
    if header > IPV4_MIN && has_source_route(ctx, packet) {
        return Parsed::SourceRoute;
    }
    let l4_start = start + ETHERNET + header;
    let l4 = l4_start as *mut u8;
    let headers = Headers { ethernet, ip, l4, end };
    if fragment & OFFSET_BITS != 0 {
        packet.kind = Kind::LaterFragment;
        return Parsed::Ipv4(headers);
    }
    if fragment & FRAGMENT_BITS != 0 {
        packet.kind = Kind::FirstFragment;
    }
    if proto == Proto::Tcp as u8 {
        if l4_start + 20 > end || len < header + 20 {
            return Parsed::BadHeader;
        }
        // SAFETY: 20 bytes from `l4` are in bounds.
        unsafe {
            packet.tuple.sport = load(l4, 0);
            packet.tuple.dport = load(l4, 2);
            packet.flags = u32::from(load::<u8>(l4, 13)) & tcp::TRACKED;
        }
    } else if proto == Proto::Udp as u8 {
        if l4_start + 8 > end || len < header + 8 {
            return Parsed::BadHeader;
        }
        // SAFETY: 8 bytes from `l4` are in bounds.
        unsafe {
            packet.tuple.sport = load(l4, 0);
            packet.tuple.dport = load(l4, 2);
        }
    } else if proto == Proto::Icmp as u8 {
        if l4_start + 8 > end || len < header + 8 {
            return Parsed::BadHeader;
        }
        // SAFETY: 8 bytes from `l4` are in bounds.
        let (icmp_type, id) = unsafe { (load::<u8>(l4, 0), load::<Port>(l4, 4)) };
        packet.icmp_type = icmp_type;
        match icmp_type {
            icmp::ECHO_REQUEST => packet.tuple.sport = id,
            icmp::ECHO_REPLY => packet.tuple.dport = id,
            t if icmp::is_error(t) => packet.kind = Kind::IcmpError,
            _ => packet.kind = Kind::IcmpOther,
        }
    } else {
        packet.kind = Kind::OtherProto;
    }
    Parsed::Ipv4(headers)
}

/// Whether a frame is untagged IPv4 and long enough for it.
#[inline(always)]
fn is_ipv4(start: usize, end: usize) -> bool {
    // SAFETY: ETHERNET bytes are in bounds when the second half is asked.
    start + ETHERNET + IPV4_MIN <= end && unsafe { load::<u16>(start as *mut u8, 12) } == ETHERTYPE_IPV4
}

/// Length of the whole frame, fragments of a multi-buffer frame included.
#[inline(never)]
fn frame_len(ctx: &XdpContext) -> usize {
    // SAFETY: a valid context.
    unsafe { bpf_xdp_get_buff_len(ctx.ctx) as usize }
}

/// Whether the packet spans several buffers.
#[inline(always)]
pub fn has_frags(ctx: &XdpContext, packet: &Packet) -> bool {
    ETHERNET + packet.len as usize > ctx.data_end() - ctx.data()
}

/// Bytes of payload of a TCP segment. Where the header says nothing that can be, or is not in the frame: none.
#[inline(always)]
pub fn tcp_payload(ctx: &XdpContext, packet: &Packet) -> u32 {
    let (start, end) = (ctx.data(), ctx.data_end());
    let at = packet.l4 as usize;
    if at > ETHERNET + 60 {
        return 0;
    }
    let l4 = start + at;
    if l4 + 20 > end {
        return 0;
    }
    // SAFETY: 20 bytes from `l4` are in bounds.
    let offset = u32::from(unsafe { load::<u8>(l4 as *mut u8, 12) } >> 4) * 4;
    packet.len.saturating_sub(packet.l4 - ETHERNET as u32 + offset)
}

/// Whether a packet carries a source route, or options that cannot be read to their end: it would go where its sender
/// says instead of where the routes lead (RFC 791 section 3.1; dropped as RFC 7126 sections 4.3 and 4.4 advise).
#[inline(always)]
fn has_source_route(ctx: &XdpContext, packet: &Packet) -> bool {
    packet_source_route(ctx.ctx, packet.l4) != 0
}

/// The same for a frame of which only the addresses were read.
#[inline(always)]
pub fn group_has_source_route(ctx: *mut xdp_md) -> bool {
    let context = XdpContext::new(ctx);
    let (start, end) = (context.data(), context.data_end());
    if start + ETHERNET + IPV4_MIN > end {
        return true;
    }
    // SAFETY: ETHERNET and IPV4_MIN bytes are in bounds.
    let header = usize::from(unsafe { load::<u8>(start as *mut u8, ETHERNET) } & 0xf) * 4;
    header > IPV4_MIN && packet_source_route(ctx, (ETHERNET + header) as u32) != 0
}

#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn packet_source_route(ctx: *mut xdp_md, l4: u32) -> u32 {
    let ctx = XdpContext::new(ctx);
    let (start, end) = (ctx.data(), ctx.data_end());
    u32::from(options::has_source_route((ETHERNET + IPV4_MIN) as u32, l4, |at| {
        let option = start + (at & 0x7f) as usize;
        if option + 2 > end {
            return None;
        }
        // SAFETY: two bytes from `option` are in bounds.
        Some(unsafe { (load::<u8>(option as *mut u8, 0), load::<u8>(option as *mut u8, 1)) })
    }))
}

/// Destination station address of a frame.
#[inline(always)]
pub fn dmac(ctx: &XdpContext) -> [u8; 6] {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + ETHERNET > end {
        return [0; 6];
    }
    // SAFETY: ETHERNET bytes are in bounds.
    unsafe { load(start as *mut u8, 0) }
}

/// The tuple that an ICMP error embeds, as its answer would arrive: the key of the flow that it is about.
#[inline(always)]
pub fn embedded_reverse(ctx: &XdpContext, packet: &Packet) -> Option<Tuple> {
    let (start, end) = (ctx.data(), ctx.data_end());
    let at = packet.l4 as usize;
    if at > ETHERNET + 60 {
        return None;
    }
    let inner = start + at + 8;
    if inner + IPV4_MIN + 8 > end {
        return None;
    }
    let inner = inner as *mut u8;
    // SAFETY: 28 bytes from `inner` are in bounds.
    let (ihl, proto, src, dst) = unsafe {
        (load::<u8>(inner, 0) & 0xf, load::<u8>(inner, 9), load::<Addr>(inner, 12), load::<Addr>(inner, 16))
    };
    let transport = inner as usize + usize::from(ihl) * 4;
    if usize::from(ihl) * 4 < IPV4_MIN || transport + 8 > end {
        return None;
    }
    let transport = transport as *mut u8;
    // SAFETY: 8 bytes from `transport` are in bounds.
    let (sport, dport) = unsafe {
        match Proto::from_number(proto)? {
            Proto::Icmp => match load::<u8>(transport, 0) {
                icmp::ECHO_REQUEST => (load::<Port>(transport, 4), Port { be: 0 }),
                _ => return None,
            },
            Proto::Tcp | Proto::Udp => (load::<Port>(transport, 0), load::<Port>(transport, 2)),
        }
    };
    Some(Tuple { src: dst, dst: src, sport: dport, dport: sport, proto, side: packet.tuple.side, place: 0 })
}

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
/// `false`, and nothing written, when the transport header is not in the frame: cannot happen to a packet that
/// [`parse`] gave a tuple, but the verifier does not see that far.
#[inline(always)]
pub fn rewrite(headers: &Headers, packet: &Packet, flow: Flow, ttl: TtlStep) -> bool {
    let Headers { ip, l4, end, .. } = *headers;
    if l4 as usize + 8 > end {
        return false;
    }
    // SAFETY: `parse` checked 20 bytes from `ip`; 8 bytes from `l4` are in bounds, and 18 where TCP needs them.
    unsafe {
        if packet.tuple.proto == Proto::Tcp as u8 {
            if l4 as usize + 18 > end {
                return false;
            }
            store(l4, 0, flow.new_ports());
            store(l4, 16, checksum::apply(load(l4, 16), flow.l4_delta()));
        } else if packet.tuple.proto == Proto::Udp as u8 {
            store(l4, 0, flow.new_ports());
            store(l4, 6, checksum::apply_udp(load(l4, 6), flow.l4_delta()));
        } else {
            let id = if packet.icmp_type == icmp::ECHO_REQUEST { flow.new_sport() } else { flow.new_dport() };
            store(l4, 4, id);
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
    // SAFETY: `parse` checked 14 bytes from `ethernet`.
    unsafe { store(headers.ethernet, 0, macs) }
}
