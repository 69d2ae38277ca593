//! What the kernel says about routes: by which device an address is reached, and how large a packet may be on it.
//!
//! Asks and translates; decides nothing. Works for XDP and tc programs, whose helpers have the same name.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_FIB_LKUP_RET_FRAG_NEEDED, BPF_FIB_LKUP_RET_FWD_DISABLED, BPF_FIB_LKUP_RET_NO_NEIGH,
        BPF_FIB_LKUP_RET_NOT_FWDED, BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS,
        BPF_FIB_LKUP_RET_UNREACHABLE, BPF_FIB_LKUP_RET_UNSUPP_LWT, BPF_FIB_LOOKUP_OUTPUT, bpf_fib_lookup,
    },
    helpers::generated::{bpf_check_mtu, bpf_fib_lookup as fib_lookup},
};
use nat_common::{Addr, Tuple, hop::NextHop};

const AF_INET: u8 = 2;

/// Which kind of route there is to a destination.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Out of a device, to a neighbour whose Ethernet address is known.
    Resolved,
    /// Out of a device, to a neighbour that is not resolved.
    Unresolved,
    /// Into an encapsulation (lwtunnel): the kernel must send it, and does not say by which device.
    Encapsulated,
    /// To this host, or to nowhere: the kernel delivers it, or has no route (net/core/filter.c, `bpf_ipv4_fib_lookup`, does
    /// not tell the two apart).
    Host,
    /// Somebody turned forwarding off on the interface that the packet came by: the kernel would deliver what is for this host,
    /// and looks no further.
    Disabled,
    /// A route says so: `unreachable`.
    Unreachable,
    /// A route says so: `prohibit`.
    Prohibited,
    /// A route says so: `blackhole`; or an answer that natgw does not know.
    Nowhere,
}

/// Asks for the way of a packet with this tuple that came by `ifindex`. `fib` then holds what the kernel found.
#[inline(always)]
pub fn route(context: *mut c_void, ifindex: u32, tuple: &Tuple, tos: u8, fib: &mut bpf_fib_lookup) -> Route {
    kind(ask(context, ifindex, tuple, tos, 0, 0, fib))
}

/// The same, of the routes that lead out of the device `by`.
#[inline(always)]
pub fn route_by(context: *mut c_void, by: u32, tuple: &Tuple, tos: u8, fib: &mut bpf_fib_lookup) -> Route {
    kind(ask(context, by, tuple, tos, 0, BPF_FIB_LOOKUP_OUTPUT, fib))
}

#[inline(always)]
fn kind(answer: u32) -> Route {
    match answer {
        // A tc program is told that its packet is larger than the device's MTU; it has a route all the same.
        BPF_FIB_LKUP_RET_SUCCESS | BPF_FIB_LKUP_RET_FRAG_NEEDED => Route::Resolved,
        BPF_FIB_LKUP_RET_NO_NEIGH => Route::Unresolved,
        BPF_FIB_LKUP_RET_UNSUPP_LWT => Route::Encapsulated,
        BPF_FIB_LKUP_RET_NOT_FWDED => Route::Host,
        BPF_FIB_LKUP_RET_FWD_DISABLED => Route::Disabled,
        BPF_FIB_LKUP_RET_UNREACHABLE => Route::Unreachable,
        BPF_FIB_LKUP_RET_PROHIBIT => Route::Prohibited,
        _ => Route::Nowhere,
    }
}

/// Whether any route to the tuple's destination leads out of a device, were there no others.
#[inline(always)]
pub fn leads_out_of(context: *mut c_void, ifindex: u32, tuple: &Tuple, fib: &mut bpf_fib_lookup) -> bool {
    matches!(
        ask(context, ifindex, tuple, 0, 0, BPF_FIB_LOOKUP_OUTPUT, fib),
        BPF_FIB_LKUP_RET_SUCCESS
            | BPF_FIB_LKUP_RET_NO_NEIGH
            | BPF_FIB_LKUP_RET_UNSUPP_LWT
            | BPF_FIB_LKUP_RET_FRAG_NEEDED
    )
}

/// What fits into an encapsulation, in bytes of IPv4; 0 when the kernel does not say. The one MTU that is taken from the
/// kernel's lookup, which honours exceptions of path MTU discovery that anybody may have planted: natgw answers what is
/// larger by itself, so the worst that comes of it are packets of 552 bytes, the smallest path MTU that Linux believes
/// (`net.ipv4.route.min_pmtu`).
#[inline(always)]
pub fn encapsulated_mtu(
    context: *mut c_void,
    ifindex: u32,
    tuple: &Tuple,
    tos: u8,
    fib: &mut bpf_fib_lookup,
) -> u16 {
    if ask(context, ifindex, tuple, tos, u16::MAX, 0, fib) != BPF_FIB_LKUP_RET_FRAG_NEEDED {
        return 0;
    }
    // SAFETY: both variants of the union are the same u16, which the kernel wrote.
    unsafe { fib.__bindgen_anon_1.mtu_result }
}

/// The MTU of a device, in bytes of IPv4; 0 when there is no such device.
#[inline(always)]
pub fn device_mtu(context: *mut c_void, ifindex: u32) -> u32 {
    let mut mtu = 0;
    // SAFETY: a valid context, and a pointer to a word that outlives the call. The helper writes the device's MTU whether
    // the packet fits or not (net/core/filter.c, bpf_xdp_check_mtu).
    let answer = unsafe { bpf_check_mtu(context, ifindex, &raw mut mtu, 0, 0) };
    if answer < 0 { 0 } else { mtu }
}

/// The next hop of a lookup that found one.
#[inline(always)]
pub fn next_hop(fib: &bpf_fib_lookup) -> NextHop {
    // SAFETY: the kernel leaves the gateway (or the destination, on link) here: net/core/filter.c,
    // bpf_ipv4_fib_lookup.
    NextHop { ifindex: fib.ifindex, addr: Addr { be: unsafe { fib.__bindgen_anon_4.ipv4_dst } } }
}

/// One lookup; the kernel's answer. `fib` holds what it found.
#[inline(always)]
fn ask(
    context: *mut c_void,
    ifindex: u32,
    tuple: &Tuple,
    tos: u8,
    tot_len: u16,
    flags: u32,
    fib: &mut bpf_fib_lookup,
) -> u32 {
    // SAFETY: plain data, for which all-zero is valid.
    *fib = unsafe { core::mem::zeroed() };
    fib.family = AF_INET;
    fib.l4_protocol = tuple.proto;
    fib.sport = tuple.sport.be;
    fib.dport = tuple.dport.be;
    fib.__bindgen_anon_1.tot_len = tot_len;
    fib.__bindgen_anon_2.tos = tos;
    fib.__bindgen_anon_3.ipv4_src = tuple.src.be;
    fib.__bindgen_anon_4.ipv4_dst = tuple.dst.be;
    fib.ifindex = ifindex;
    // SAFETY: a valid context, and parameters of the size given. Errors are negative and match no answer.
    unsafe { fib_lookup(context, fib, size_of::<bpf_fib_lookup>() as i32, flags) as u32 }
}
