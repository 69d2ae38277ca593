//! Frames as tc programs get them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_redir_neigh},
    helpers::generated::{bpf_redirect, bpf_redirect_neigh, bpf_skb_pull_data},
};
use nat_common::{handover::Handover, hop::NextHop, settings::Settings};
use network_types::eth::EthHdr;

use super::view::{Kind, View};

/// A frame that a tc program was given.
///
/// Packet pointers are read from the context by volatile loads: LLVM would otherwise make them arguments of a function that
/// reads them, as the 32 bits that the field has, and the verifier would no longer know them for packet pointers.
#[derive(Clone, Copy)]
pub struct Skb(*mut __sk_buff);

const AF_INET: u32 = 2;
const PACKET_HOST: u32 = 0;
const PACKET_OTHERHOST: u32 = 3;

/// Whom a frame was sent to on the link (`include/uapi/linux/if_packet.h`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Station {
    /// This interface.
    This,
    /// Another one: the kernel drops the frame, or an interface on top of this one takes it.
    Another,
    /// A broadcast or multicast address.
    Group,
}

impl Skb {
    /// From the context of a program.
    #[inline(always)]
    pub fn new(context: *mut __sk_buff) -> Self {
        Self(context)
    }

    /// The interface that the program is attached to.
    #[inline(always)]
    pub fn interface(self) -> u32 {
        // SAFETY: a valid context.
        unsafe { (*self.0).ifindex }
    }

    /// Whom the frame was sent to. Of the kernel's numbers, 0 is `PACKET_HOST`, 3 `PACKET_OTHERHOST`.
    #[inline(always)]
    pub fn station(self) -> Station {
        // SAFETY: a valid context.
        match unsafe { (*self.0).pkt_type } {
            PACKET_HOST => Station::This,
            PACKET_OTHERHOST => Station::Another,
            _ => Station::Group,
        }
    }

    /// The first VLAN tag, which the kernel has taken off and keeps beside the frame: its control information, host order.
    #[inline(always)]
    pub fn tag_beside(self) -> Option<u16> {
        // SAFETY: a valid context.
        let (present, tag) = unsafe { ((*self.0).vlan_present, (*self.0).vlan_tci) };
        if present != 0 { Some(tag as u16) } else { None }
    }

    /// Makes the first `bytes` of the frame readable directly, as far as it has them. Pointers are to be made anew.
    ///
    /// What the kernel has put together of several packets (GSO) is left alone: its headers are readable already, and bytes that
    /// move from one of its parts to another make it one that the kernel cannot take apart again (net/core/skbuff.c,
    /// `skb_segment`). A frame that is shorter is left alone too: the helper would copy one that is shared.
    #[inline(always)]
    pub fn pull(self, bytes: usize) {
        let readable = self.end() - self.start();
        // SAFETY: a valid context.
        if unsafe { (*self.0).gso_size } == 0 && readable < bytes && readable < self.len() as usize {
            let wanted = if self.len() < bytes as u32 { self.len() } else { bytes as u32 };
            // SAFETY: a valid context. When it fails, whoever reads the frame finds it too short.
            unsafe { bpf_skb_pull_data(self.0, wanted) };
        }
    }

    /// Where an XDP program of natgw's wants the frame to go, which it translated (`Frame::hand_over`). To be read before anything
    /// pulls bytes of the frame into its linear part, which may lose metadata (net/core/skbuff.c, `pskb_expand_head`).
    #[inline(always)]
    pub fn handed_over(self, settings: &Settings) -> Option<NextHop> {
        // SAFETY: a valid context.
        let meta = unsafe { (&raw const (*self.0).data_meta).read_volatile() as usize };
        let start = self.start();
        if meta + size_of::<Handover>() <= start {
            // SAFETY: that many bytes from `meta` are in bounds.
            let Handover { mark, to } = unsafe { (meta as *const Handover).read() };
            return if mark == settings.handover_mark() { Some(to) } else { None };
        }
        if start + Self::LINK > self.end() {
            return None;
        }
        // SAFETY: an Ethernet header is in bounds; its sender's address is at 6.
        let sender = unsafe { ((start + 6) as *const [u8; 6]).read() };
        if sender == settings.handover_sender() { Some(Handover::KERNEL) } else { None }
    }
}

/// Sends the frame at hand, which was handed over: the action number.
#[inline(always)]
pub fn redirect(to: NextHop) -> i32 {
    if to == Handover::addressed(to.ifindex) {
        // SAFETY: the helper takes numbers.
        return unsafe { bpf_redirect(to.ifindex, 0) } as i32;
    }
    // SAFETY: plain data, for which all-zero is valid.
    let mut next: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    next.nh_family = AF_INET;
    next.__bindgen_anon_1.ipv4_nh = to.addr.be;
    // SAFETY: parameters of the size given.
    unsafe { bpf_redirect_neigh(to.ifindex, &raw mut next, size_of::<bpf_redir_neigh>() as i32, 0) as i32 }
}

impl View for Skb {
    type Context = __sk_buff;

    const KIND: Kind = Kind::Skb;
    const LINK: usize = EthHdr::LEN;

    #[inline(always)]
    fn context(self) -> *mut c_void {
        self.0.cast()
    }

    #[inline(always)]
    fn start(self) -> usize {
        // SAFETY: a valid context.
        unsafe { (&raw const (*self.0).data).read_volatile() as usize }
    }

    #[inline(always)]
    fn end(self) -> usize {
        // SAFETY: a valid context.
        unsafe { (&raw const (*self.0).data_end).read_volatile() as usize }
    }

    #[inline(always)]
    fn len(self) -> u32 {
        // SAFETY: a valid context.
        unsafe { (*self.0).len }
    }

    /// 0: sent by this host (include/linux/skbuff.h, `skb_iif`).
    #[inline(always)]
    fn ingress(self) -> u32 {
        // SAFETY: a valid context.
        unsafe { (*self.0).ingress_ifindex }
    }
}
