//! The host's own sockets, where an EIP is also the gateway's address.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::bpf_sock_tuple__bindgen_ty_1__bindgen_ty_1 as Ipv4Tuple,
    helpers::generated::{bpf_sk_lookup_udp, bpf_sk_release, bpf_skc_lookup_tcp},
};
use nat_common::{Proto, Tuple};

/// `BPF_F_CURRENT_NETNS`: the namespace of the receiving device.
const CURRENT_NETNS: u64 = u64::MAX;

/// Whether a socket of the host would take a packet with this tuple. `TIME_WAIT` and listeners count.
#[inline(never)]
pub fn holds(context: *mut c_void, tuple: &Tuple) -> bool {
    // The IPv4 arm alone of bpf_sock_tuple: the helpers go by the size, and the stack is short.
    let mut key =
        Ipv4Tuple { saddr: tuple.src.be, daddr: tuple.dst.be, sport: tuple.sport.be, dport: tuple.dport.be };
    let (pointer, size) = ((&raw mut key).cast(), size_of::<Ipv4Tuple>() as u32);
    // SAFETY: a valid context, and a tuple of the size given; the reference is released below.
    let socket = unsafe {
        if tuple.proto == Proto::Tcp as u8 {
            bpf_skc_lookup_tcp(context, pointer, size, CURRENT_NETNS, 0)
        } else {
            bpf_sk_lookup_udp(context, pointer, size, CURRENT_NETNS, 0)
        }
    };
    if socket.is_null() {
        return false;
    }
    // SAFETY: a socket that the lookup returned and nobody released yet.
    unsafe { bpf_sk_release(socket.cast()) };
    true
}
