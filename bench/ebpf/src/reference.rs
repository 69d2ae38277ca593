//! What natgw is compared with, one step at a time: reading the headers, and looking the tuple up.

use aya_ebpf::{
    bindings::{
        BPF_NOEXIST,
        xdp_action::{XDP_ABORTED, XDP_DROP},
    },
    btf_maps::{Array, HashMap},
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use nat_bench_ebpf::header::{ETHERTYPE_IPV4, FRAGMENT_BITS, eth, ip, udp};
use nat_common::{Addr, Port, Proto, Tuple};

use crate::frame::load;

/// A TCP header without options.
const TCP: usize = network_types::tcp::TcpHdr::LEN;

/// A value as large as a flow entry.
type Value = [u64; 8];

/// The kernel's own hash table, preallocated; userspace sizes it like natgw's.
#[btf_map]
static BARE: HashMap<Tuple, Value, 64> = HashMap::new();

/// Lookups that found nothing, and insertions that failed: there must be none.
#[btf_map]
static BARE_FAILURES: Array<u64, 1> = Array::new();

/// Reads the headers, and no more.
#[xdp(frags)]
pub fn bench_parse(ctx: XdpContext) -> u32 {
    match parse(&ctx) {
        // Never true; asks for every field, so that none is optimized away.
        Some(t) if t.src.be ^ t.dst.be ^ u32::from(t.sport.be) << 16 ^ u32::from(t.dport.be) == 0 => {
            XDP_ABORTED
        }
        Some(_) => XDP_DROP,
        None => fail(),
    }
}

/// Reads the headers and looks the tuple up.
#[xdp(frags)]
pub fn bench_lookup(ctx: XdpContext) -> u32 {
    let Some(tuple) = parse(&ctx) else { return fail() };
    match BARE.get_ptr(tuple) {
        // What was found decides, as a gateway's next hop would: the value is really read.
        // SAFETY: a live element of a table that nobody deletes from.
        Some(value) => unsafe { (*value)[0] as u32 },
        None => fail(),
    }
}

/// Inserts the tuple.
#[xdp(frags)]
pub fn bench_insert(ctx: XdpContext) -> u32 {
    let Some(tuple) = parse(&ctx) else { return fail() };
    match BARE.insert(tuple, [u64::from(XDP_DROP); 8], u64::from(BPF_NOEXIST)) {
        Ok(()) => XDP_DROP,
        Err(_) => fail(),
    }
}

#[inline(never)]
fn fail() -> u32 {
    if let Some(failures) = BARE_FAILURES.get_ptr_mut(0) {
        // SAFETY: an array element; one CPU runs these programs.
        unsafe { *failures += 1 };
    }
    XDP_ABORTED
}

/// The tuple of a whole UDP or TCP packet: the checks that natgw makes, and no others.
#[inline(always)]
fn parse(ctx: &XdpContext) -> Option<Tuple> {
    let (start, end) = (ctx.data(), ctx.data_end());
    if start + eth::LEN + ip::LEN > end {
        return None;
    }
    let frame = start as *const u8;
    // SAFETY: both headers are in bounds.
    let (ethertype, group, version_ihl, total, fragment, proto, src, dst) = unsafe {
        (
            load::<u16>(frame, eth::TYPE),
            load::<u8>(frame, eth::DST),
            load::<u8>(frame, ip::VERSION),
            u16::from_be(load(frame, ip::TOTAL)),
            load::<u16>(frame, ip::FRAGMENT),
            load::<u8>(frame, ip::PROTO),
            load::<Addr>(frame, ip::SRC),
            load::<Addr>(frame, ip::DST),
        )
    };
    let (header, len) = (usize::from(version_ihl & 0xf) * 4, usize::from(total));
    if ethertype != ETHERTYPE_IPV4
        || group & 1 != 0
        || version_ihl >> 4 != 4
        || header < ip::LEN
        || eth::LEN + len > end - start
        || fragment & FRAGMENT_BITS != 0
    {
        return None;
    }
    let needed = match proto {
        p if p == Proto::Udp as u8 => udp::LEN,
        p if p == Proto::Tcp as u8 => TCP,
        _ => return None,
    };
    let l4 = start + eth::LEN + header;
    if len < header + needed || l4 + TCP > end {
        return None;
    }
    // SAFETY: as long as a TCP header from `l4`: both ports are in bounds.
    let (sport, dport) =
        unsafe { (load::<Port>(l4 as *const u8, 0), load::<Port>(l4 as *const u8, size_of::<Port>())) };
    Some(Tuple { src, dst, sport, dport, proto, ..Tuple::default() })
}
