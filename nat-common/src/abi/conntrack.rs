//! How the packet path asks the host's connection tracking, where an EIP is also the gateway's address.
//!
//! The kernel's functions for that (`net/netfilter/nf_conntrack_bpf.c`) are called by their number in the kernel's type
//! information, which differs from kernel to kernel. In the object stands a placeholder for each call: a valid instruction that is
//! never executed. The loader replaces it by the call and says so by a load-time constant.

/// Load-time constant: a constant of [`Conntrack`] as a number.
pub const RODATA_CONNTRACK: &str = "CONNTRACK";

/// What can be known of the connections that the host tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Conntrack {
    /// The host tracks none: the kernel has no connection tracking.
    Absent = 0,
    /// It can be asked about each.
    Known = 1,
    /// It tracks some, and cannot be asked: its functions are in a module, which needs what this loader cannot give. Ports that
    /// natgw never takes are then the host's.
    Silent = 2,
}

/// Makes a constant of each line `NAME number "function"`, and `ALL` of them.
macro_rules! calls {
    ($($(#[$about:meta])* $name:ident $number:literal $function:literal)+) => {
        $($(#[$about])* pub const $name: i32 = $number;)+
        /// Each placeholder, and the function that the kernel knows by this name.
        pub const ALL: [(i32, &str); [$($number),+].len()] = [$(($number, $function)),+];
    };
}

calls! {
    /// `struct nf_conn *(struct xdp_md *, struct bpf_sock_tuple *, u32, struct bpf_ct_opts *, u32)`
    XDP_LOOKUP 0x6e67_6301 "bpf_xdp_ct_lookup"
    /// `struct nf_conn *(struct __sk_buff *, struct bpf_sock_tuple *, u32, struct bpf_ct_opts *, u32)`
    SKB_LOOKUP 0x6e67_6302 "bpf_skb_ct_lookup"
    /// `void (struct nf_conn *)`
    RELEASE 0x6e67_6303 "bpf_ct_release"
}

/// The instruction that stands for a call: `r0 = number`.
pub const fn placeholder(number: i32) -> [u8; 8] {
    let [a, b, c, d] = number.to_le_bytes();
    [0xb7, 0, 0, 0, a, b, c, d]
}

/// The call of the function with this number in the kernel's type information (`BPF_PSEUDO_KFUNC_CALL`).
pub const fn call(id: i32) -> [u8; 8] {
    let [a, b, c, d] = id.to_le_bytes();
    [0x85, 0x20, 0, 0, a, b, c, d]
}

/// Options of a lookup (`struct bpf_ct_opts` as of Linux 5.18, which later ones take too).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct LookupOptions {
    /// -1: the namespace of the device.
    pub namespace: i32,
    /// What went wrong.
    pub error: i32,
    /// TCP or UDP.
    pub proto: u8,
    /// Which direction of the connection was found.
    pub direction: u8,
    /// Always zero.
    pub spare: [u8; 2],
}

const _: () = assert!(size_of::<LookupOptions>() == 12);
