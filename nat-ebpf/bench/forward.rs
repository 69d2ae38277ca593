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
use nat_common::{Addr, Port, Proto, Side, Tuple, checksum};

const AF_INET: u8 = 2;
const ETHERNET: usize = 14;
const HEADERS: usize = 42;
const ETHERTYPE_IPV4: u16 = 0x0800u16.to_be();
const VERSION_AND_IHL: u8 = 0x45;
const FRAGMENT_BITS: u16 = 0x3fffu16.to_be();

/// As large as a flow's.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct Value {
    egress: u32,
    rest: [u32; 15],
}

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
    if start + ETHERNET + 20 > ctx.data_end() {
        return XDP_PASS;
    }
    let frame = start as *mut u8;
    // SAFETY: 34 bytes from `frame` are in bounds; as everywhere in this file, the verifier does not ask for
    // alignment in packets.
    unsafe {
        let ttl = load::<u8>(frame, 22);
        if load::<u16>(frame, 12) != ETHERTYPE_IPV4 || ttl <= 1 {
            return XDP_PASS;
        }
        let mut fib: bpf_fib_lookup = core::mem::zeroed();
        fib.family = AF_INET;
        fib.l4_protocol = load(frame, 23);
        fib.__bindgen_anon_1.tot_len = u16::from_be(load(frame, 16));
        fib.__bindgen_anon_2.tos = load(frame, 15);
        fib.__bindgen_anon_3.ipv4_src = load(frame, 26);
        fib.__bindgen_anon_4.ipv4_dst = load(frame, 30);
        fib.ifindex = ctx.ingress_ifindex() as u32;
        let answer = fib_lookup(ctx.ctx.cast(), &raw mut fib, size_of::<bpf_fib_lookup>() as i32, 0);
        if answer != i64::from(BPF_FIB_LKUP_RET_SUCCESS) {
            return XDP_PASS;
        }
        store(frame, 24, checksum::apply(load(frame, 24), checksum::TTL_DECREMENT));
        store(frame, 22, ttl - 1);
        store(frame, 0, fib.dmac);
        store(frame, 6, fib.smac);
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
        if load::<u16>(frame, 12) != ETHERTYPE_IPV4
            || load::<u8>(frame, 14) != VERSION_AND_IHL
            || load::<u16>(frame, 20) & FRAGMENT_BITS != 0
            || load::<u8>(frame, 23) != Proto::Udp as u8
        {
            return XDP_PASS;
        }
        Tuple {
            src: load::<Addr>(frame, 26),
            dst: load::<Addr>(frame, 30),
            sport: load::<Port>(frame, 34),
            dport: load::<Port>(frame, 36),
            proto: Proto::Udp as u8,
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

/// # Safety
/// `base + offset` is the start of a `T` within the frame.
#[inline(always)]
unsafe fn load<T: Copy>(base: *mut u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().read() }
}

/// # Safety
/// As [`load`].
#[inline(always)]
unsafe fn store<T: Copy>(base: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { base.add(offset).cast::<T>().write(value) }
}
