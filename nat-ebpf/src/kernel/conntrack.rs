//! The host's connection tracking, where an EIP is also the gateway's address.

use core::{arch::asm, ffi::c_void};

use aya_ebpf::bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as Ipv4Tuple;
use nat_common::{
    Tuple,
    conntrack::{LookupOptions, RELEASE, SKB_LOOKUP, XDP_LOOKUP},
};

/// Whether the host tracks a connection that a packet with this TCP or UDP tuple belongs to. It may only be asked where the loader
/// put the calls in (`nat_common::conntrack`).
#[inline(always)]
pub fn xdp_knows(context: *mut c_void, tuple: &Tuple) -> bool {
    knows::<XDP_LOOKUP>(context, tuple)
}

/// The same for a tc program.
#[inline(always)]
pub fn skb_knows(context: *mut c_void, tuple: &Tuple) -> bool {
    knows::<SKB_LOOKUP>(context, tuple)
}

#[inline(never)]
fn knows<const LOOKUP: i32>(context: *mut c_void, tuple: &Tuple) -> bool {
    let mut key =
        Ipv4Tuple { saddr: tuple.src.be, daddr: tuple.dst.be, sport: tuple.sport.be, dport: tuple.dport.be };
    let mut options =
        LookupOptions { namespace: -1, error: 0, proto: tuple.proto, direction: 0, spare: [0; 2] };
    let found: *mut c_void;
    // SAFETY: the instruction becomes a call, which takes its arguments in r1 to r5, loses them, and returns in r0. It reads the key
    // and the options, and writes the options.
    unsafe {
        asm!(
            "r0 = {lookup}",
            lookup = const LOOKUP,
            lateout("r0") found,
            inlateout("r1") context => _,
            inlateout("r2") &raw mut key => _,
            inlateout("r3") size_of::<Ipv4Tuple>() => _,
            inlateout("r4") &raw mut options => _,
            inlateout("r5") size_of::<LookupOptions>() => _,
        );
    }
    if found.is_null() {
        return false;
    }
    // SAFETY: the instruction becomes a call like the one above, of a connection that the lookup returned and nobody released yet.
    unsafe {
        asm!(
            "r0 = {release}",
            release = const RELEASE,
            lateout("r0") _,
            inlateout("r1") found => _,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
    true
}
