//! What the rig compares natgw with, as far as it is XDP: no lookup, a FIB lookup, a flow table lookup.

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_SUCCESS, bpf_fib_lookup,
        xdp_action::{XDP_DROP, XDP_PASS},
    },
    btf_maps::{DevMap, HashMap},
    helpers::generated::bpf_fib_lookup as fib_lookup,
    macros::{btf_map, xdp},
    programs::XdpContext,
};
use nat_bench_ebpf::header::{self, ETHERTYPE_IPV4, FRAGMENT_BITS, HEADERS, VERSION_AND_IHL, eth, ip, udp};
use nat_bench_ebpf::layout::rig::Value;
use nat_common::{Addr, Port, Side, Tuple, checksum};

use crate::frame::{load, store};

const AF_INET: u8 = 2;
/// Element 0: out of the gateway without a lookup. Element 1: out of the gateway with the flow table.
#[btf_map]
static RIG_OUT: DevMap<2> = DevMap::new();
/// By ifindex, like `xdp_tx_ports` of the kernel's `samples/bpf/xdp_fwd`.
#[btf_map]
static RIG_FIB_OUT: DevMap<64> = DevMap::new();
/// The kernel's preallocated hash, key and value as large as a flow's.
#[btf_map]
static RIG_TABLE: HashMap<Tuple, Value, 2> = HashMap::new();

/// Every frame out of the other interface, unread.
#[xdp]
pub fn rig_redirect(_ctx: XdpContext) -> u32 {
    RIG_OUT.redirect(0, 0).unwrap_or(XDP_DROP)
}

/// Routing: a FIB lookup per packet, TTL, header checksum, MACs, devmap.
#[xdp]
pub fn rig_fib(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + eth::LEN + ip::LEN > ctx.data_end() {
        return XDP_PASS;
    }
    let frame = start as *mut u8;
    // SAFETY: both headers, from `frame`, are in bounds.
    unsafe {
        let ttl = load::<u8>(frame, ip::TTL);
        if load::<u16>(frame, eth::TYPE) != ETHERTYPE_IPV4 || ttl <= 1 {
            return XDP_PASS;
        }
        let mut fib: bpf_fib_lookup = core::mem::zeroed();
        fib.family = AF_INET;
        fib.l4_protocol = load(frame, ip::PROTO);
        fib.__bindgen_anon_1.tot_len = u16::from_be(load(frame, ip::TOTAL));
        fib.__bindgen_anon_2.tos = load(frame, ip::TOS);
        fib.__bindgen_anon_3.ipv4_src = load(frame, ip::SRC);
        fib.__bindgen_anon_4.ipv4_dst = load(frame, ip::DST);
        fib.ifindex = ctx.ingress_ifindex() as u32;
        let answer = fib_lookup(ctx.ctx.cast(), &raw mut fib, size_of::<bpf_fib_lookup>() as i32, 0);
        if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
            return XDP_PASS;
        }
        store(frame, ip::CHECKSUM, checksum::apply(load(frame, ip::CHECKSUM), checksum::TTL_DECREMENT));
        store(frame, ip::TTL, ttl - 1);
        store(frame, eth::DST, fib.dmac);
        store(frame, eth::SRC, fib.smac);
        RIG_FIB_OUT.redirect(fib.ifindex, 0).unwrap_or(XDP_DROP)
    }
}

/// The flow table's lookup and nothing else: the packet leaves as it came.
#[xdp]
pub fn rig_lookup(ctx: XdpContext) -> u32 {
    let start = ctx.data();
    if start + HEADERS > ctx.data_end() {
        return XDP_PASS;
    }
    let frame = start as *mut u8;
    // SAFETY: HEADERS bytes from `frame` are in bounds.
    let tuple = unsafe {
        if load::<u16>(frame, eth::TYPE) != ETHERTYPE_IPV4
            || load::<u8>(frame, ip::VERSION) != VERSION_AND_IHL
            || load::<u16>(frame, ip::FRAGMENT) & FRAGMENT_BITS != 0
            || load::<u8>(frame, ip::PROTO) != header::UDP
        {
            return XDP_PASS;
        }
        Tuple {
            src: load::<Addr>(frame, ip::SRC),
            dst: load::<Addr>(frame, ip::DST),
            sport: load::<Port>(frame, udp::SPORT),
            dport: load::<Port>(frame, udp::DPORT),
            proto: header::UDP,
            side: Side::INSIDE,
            state: 0,
        }
    };
    match RIG_TABLE.get_ptr(tuple) {
        // SAFETY: nobody writes or deletes while the program runs.
        Some(value) => RIG_OUT.redirect(unsafe { (*value).egress }, 0).unwrap_or(XDP_DROP),
        None => XDP_DROP,
    }
}
