//! Frames as tc programs get them.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{__sk_buff, TC_ACT_REDIRECT, TC_ACT_SHOT, TC_ACT_UNSPEC, bpf_redir_neigh},
    helpers::generated::{
        bpf_csum_update, bpf_l4_csum_replace, bpf_redirect, bpf_redirect_neigh, bpf_skb_adjust_room,
        bpf_skb_change_head, bpf_skb_change_tail, bpf_skb_load_bytes, bpf_skb_pull_data, bpf_skb_store_bytes,
        bpf_skb_vlan_pop,
    },
};
use nat_common::{Proto, handover::Handover, hop::NextHop, settings::Settings};
use network_types::{
    eth::{EthHdr, EtherType},
    ip::Ipv4Hdr,
    tcp::TcpHdr,
};

use super::view::{Change, Frame, Kind, View, Wire};
use crate::maps;

/// A frame that a tc program was given, on a device whose link-layer header has so many bytes.
///
/// Packet pointers are read from the context by volatile loads: LLVM would otherwise make them arguments of a function that
/// reads them, as the 32 bits that the field has, and the verifier would no longer know them for packet pointers.
#[derive(Clone, Copy)]
pub struct Tc<const HEADER: usize>(*mut __sk_buff);

/// On a device with Ethernet headers.
pub type Skb = Tc<{ EthHdr::LEN }>;

/// On a device without link-layer header.
pub type Ip = Tc<0>;

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

impl<const HEADER: usize> Tc<HEADER> {
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

    /// Whether the twin marked the frame as natgw's, for the guard that it meets next. Takes the mark off.
    ///
    /// It is a drawn number in the control block beside the frame, which programs share from one hook to the next. `skb->mark` is the
    /// host's own, to route and filter by. Whoever marks a frame knows that a guard comes next: what was left on it, a neighbour on
    /// a veth could send back.
    #[inline(always)]
    pub fn take_mark(self, settings: &Settings) -> bool {
        // SAFETY: a valid context.
        let is_marked = unsafe { [(*self.0).cb[0], (*self.0).cb[1]] } == settings.handover_mark();
        if is_marked {
            self.set_mark([0; 2]);
        }
        is_marked
    }

    #[inline(always)]
    fn set_mark(self, [low, high]: [u32; 2]) {
        // SAFETY: a valid context.
        unsafe {
            (&raw mut (*self.0).cb[0]).write_volatile(low);
            (&raw mut (*self.0).cb[1]).write_volatile(high);
        }
    }

    /// Where a program of natgw's wants the frame to go, which it translated ([`Frame::hand_over`]). To be read before anything
    /// pulls bytes of the frame into its linear part, which may lose metadata (net/core/skbuff.c, `pskb_expand_head`).
    #[inline(always)]
    pub fn handed_over(self, settings: &Settings) -> Option<NextHop> {
        if self.take_mark(settings) {
            return Some(Handover::KERNEL);
        }
        // SAFETY: a valid context.
        let meta = unsafe { (&raw const (*self.0).data_meta).read_volatile() as usize };
        let start = self.start();
        if meta + size_of::<Handover>() <= start {
            // SAFETY: that many bytes from `meta` are in bounds.
            let Handover { mark: found, to } = unsafe { (meta as *const Handover).read() };
            return if found == settings.handover_mark() { Some(to) } else { None };
        }
        if Self::LINK == 0 || start + Self::LINK > self.end() {
            return None;
        }
        // SAFETY: an Ethernet header is in bounds; its sender's address is at 6.
        let sender = unsafe { ((start + 6) as *const [u8; 6]).read() };
        if sender == settings.handover_sender() { Some(Handover::KERNEL) } else { None }
    }
}

/// Sends the frame at hand, which was handed over: the action number.
#[inline(always)]
pub fn send_to(to: NextHop) -> i32 {
    if to == Handover::addressed(to.ifindex) {
        return redirect(to.ifindex) as i32;
    }
    to_neighbour(to.ifindex, to.addr.be) as i32
}

impl<const HEADER: usize> View for Tc<HEADER> {
    type Context = __sk_buff;

    const KIND: Kind = if HEADER == 0 { Kind::Ip } else { Kind::Skb };
    const LINK: usize = HEADER;

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
    #[inline(always)]
    unsafe fn ethertype(self, start: usize) -> u16 {
        // SAFETY: a valid context; for the rest, the caller's promise.
        unsafe {
            if Self::LINK == 0 {
                (*self.0).protocol as u16
            } else {
                ((start + Self::LINK - 2) as *const u16).read()
            }
        }
    }
}

impl<const HEADER: usize> Frame for Tc<HEADER> {
    const DROP: u32 = TC_ACT_SHOT as u32;

    /// Not `TC_ACT_OK`, which would end the hook: the guard and the programs of others come next.
    const PASS: u32 = TC_ACT_UNSPEC as u32;

    #[inline(always)]
    fn pull_headers(self, most: usize) {
        let start = self.start();
        let headers = start + Self::LINK;
        if headers + Ipv4Hdr::LEN + TcpHdr::LEN <= self.end() {
            // SAFETY: an IPv4 header without options is in bounds.
            let (first, proto) =
                unsafe { ((headers as *const u8).read(), ((headers + 9) as *const u8).read()) };
            if first == 0x45 && proto == Proto::Tcp as u8 {
                return;
            }
        }
        self.pull(most);
    }

    #[inline(always)]
    fn tag_beside(self) -> Option<u16> {
        Self::tag_beside(self)
    }

    /// Only priority tags are taken off: of those in the frame, the kernel moves the next one beside it (net/core/skbuff.c,
    /// `skb_vlan_pop`).
    #[inline(always)]
    fn pop_tags(self, tags: usize) -> Option<bool> {
        for _ in 0..tags {
            // SAFETY: a valid context.
            if unsafe { bpf_skb_vlan_pop(self.0) } != 0 {
                return Some(false);
            }
        }
        Some(true)
    }

    #[inline(always)]
    fn is_anothers(self) -> bool {
        self.station() == Station::Another
    }

    #[inline(always)]
    fn total(self, total: u16) -> u32 {
        if total == 0 && self.gso_size() != 0 { self.len() - Self::LINK as u32 } else { u32::from(total) }
    }

    #[inline(always)]
    fn gso_size(self) -> u32 {
        // SAFETY: a valid context.
        unsafe { (*self.0).gso_size }
    }

    #[inline(always)]
    fn wire(self, len: u32) -> Wire {
        let size = self.gso_size();
        if size == 0 {
            return Wire { packets: 1, bytes: u64::from(len) };
        }
        let headers = len - size;
        let payload = (self.len() - Self::LINK as u32).saturating_sub(headers);
        // Not `gso_segs`, which is 0 where a virtual machine made the frame (include/linux/virtio_net.h,
        // `virtio_net_hdr_to_skb`).
        let packets = u64::from(payload.div_ceil(size));
        Wire { packets, bytes: u64::from(payload) + packets * u64::from(headers) }
    }

    /// Room in front of the network header is all that is asked for here: tags are popped. The helper moves the link-layer header
    /// too.
    #[inline(always)]
    fn move_start(self, bytes: i32) -> bool {
        // SAFETY: a valid context.
        unsafe { bpf_skb_adjust_room(self.0, -bytes, ROOM_BEHIND_LINK, 0) == 0 }
    }

    /// The helper is made for replies (net/core/filter.c, `__bpf_skb_change_tail`): what it shortens is one packet in one piece
    /// afterwards, and the sum of its bytes (`CHECKSUM_COMPLETE`) is forgotten. So a frame that is short enough grows by a byte
    /// first.
    #[inline(always)]
    fn cut_to(self, len: u32) -> bool {
        let whole = self.len();
        let len = if whole < len { whole } else { len };
        // SAFETY: a valid context.
        unsafe {
            (len < whole || bpf_skb_change_tail(self.0, len + 1, 0) == 0)
                && bpf_skb_change_tail(self.0, len, 0) == 0
        }
    }

    #[inline(always)]
    unsafe fn copy(self, from: u32, to: *mut u8, len: u32) -> bool {
        // SAFETY: a valid context; for the rest, the caller's promise.
        unsafe { bpf_skb_load_bytes(self.context(), from, to.cast(), len) == 0 }
    }

    /// What the kernel is to forward is marked for the ingress guard. What goes to a neighbour is sent right here; the kernel takes an Ethernet header off first, which an L3 packet needs for
    /// that (net/core/filter.c, `__bpf_redirect_neigh`).
    #[inline(always)]
    fn hand_over(self, to: NextHop) -> Option<u32> {
        if to != Handover::KERNEL {
            return if Self::LINK != 0 || self.put_link([0; 3]) {
                Some(to_neighbour(to.ifindex, to.addr.be))
            } else {
                None
            };
        }
        self.set_mark(maps::settings()?.handover_mark());
        Some(Self::PASS)
    }

    #[inline(always)]
    fn send(self, egress: u16) -> Option<u32> {
        match maps::ifindex(egress) {
            0 => None,
            ifindex => Some(redirect(ifindex)),
        }
    }

    #[inline(always)]
    fn send_whole(self, egress: u16) -> Option<u32> {
        self.send(egress)
    }

    #[inline(always)]
    fn vouch(self) {
        if let Some(settings) = maps::settings() {
            self.set_mark(settings.handover_mark());
        }
    }

    #[inline(always)]
    fn send_back(self) -> u32 {
        self.vouch();
        redirect(self.interface())
    }

    /// By the kernel's helper alone, which knows what the field holds. Where it holds but the sum of the pseudo header, for a device
    /// or the receiver to complete (`CHECKSUM_PARTIAL`), ports are no part of it; where the kernel knows the sum of all bytes
    /// (`CHECKSUM_COMPLETE`), that changes with the field. Everything else that is rewritten cancels out of that sum by its own
    /// checksum, but for ports without one.
    #[inline(always)]
    unsafe fn adjust_checksum(
        self,
        field: *mut u8,
        at: u32,
        change: impl Change,
        optional: bool,
    ) -> Option<bool> {
        let (addresses, ports) = change.parts();
        // SAFETY: the caller's promise.
        if optional && unsafe { field.cast::<[u8; 2]>().read() } == [0; 2] {
            // SAFETY: a valid context. It fails where there is no such sum.
            unsafe { bpf_csum_update(self.0, u32::from(ports)) };
            return Some(true);
        }
        let mangled = if optional { MARK_MANGLED_0 } else { 0 };
        // SAFETY: a valid context.
        let changed = unsafe {
            bpf_l4_csum_replace(self.0, at, 0, u64::from(addresses), mangled | PSEUDO_HDR) == 0
                && bpf_l4_csum_replace(self.0, at, 0, u64::from(ports), mangled) == 0
        };
        if changed { Some(true) } else { None }
    }

    /// The context does not tell, but what the helper does: a change that is none of the pseudo header's leaves such a field as it
    /// is, and any other it changes.
    #[inline(always)]
    fn is_partial(self, at: u32) -> bool {
        let (mut before, mut after) = (0u16, 0u16);
        let size = size_of::<u16>() as u32;
        // SAFETY: a valid context, and two bytes on the stack for each.
        unsafe {
            let is_asked = bpf_skb_load_bytes(self.context(), at, (&raw mut before).cast(), size) == 0
                && bpf_l4_csum_replace(self.0, at, 0, 1, 0) == 0
                && bpf_skb_load_bytes(self.context(), at, (&raw mut after).cast(), size) == 0;
            if !is_asked || before == after {
                return is_asked;
            }
            bpf_skb_store_bytes(self.0, at, (&raw const before).cast(), size, 0);
        }
        false
    }

    #[inline(always)]
    fn put_link(self, macs: [u32; 3]) -> bool {
        // SAFETY: a valid context.
        if unsafe { bpf_skb_change_head(self.0, EthHdr::LEN as u32, 0) } != 0 {
            return false;
        }
        let start = self.start();
        if start + EthHdr::LEN > self.end() {
            return false;
        }
        // SAFETY: an Ethernet header is in bounds.
        unsafe {
            (start as *mut [u32; 3]).write(macs);
            ((start + 12) as *mut u16).write(EtherType::Ipv4 as u16);
        }
        true
    }
}

/// `BPF_ADJ_ROOM_MAC`.
const ROOM_BEHIND_LINK: u32 = 1;

/// Flags of `bpf_l4_csum_replace`; the size in the lowest bits is 0, as the change comes as a sum.
const PSEUDO_HDR: u64 = aya_ebpf::bindings::BPF_F_PSEUDO_HDR as u64;
const MARK_MANGLED_0: u64 = aya_ebpf::bindings::BPF_F_MARK_MANGLED_0 as u64;

/// Sends the frame to a neighbour that the kernel resolves: the action number. Out of line, because the fast path's stack has no
/// room for the parameters.
#[inline(never)]
fn to_neighbour(ifindex: u32, addr: u32) -> u32 {
    // SAFETY: plain data, for which all-zero is valid.
    let mut next: bpf_redir_neigh = unsafe { core::mem::zeroed() };
    next.nh_family = AF_INET;
    next.__bindgen_anon_1.ipv4_nh = addr;
    // SAFETY: parameters of the size given.
    unsafe { bpf_redirect_neigh(ifindex, &raw mut next, size_of::<bpf_redir_neigh>() as i32, 0) as u32 }
}

/// Sends the frame out of a device: the action number. A device without link-layer header gets it without.
#[inline(always)]
fn redirect(ifindex: u32) -> u32 {
    // SAFETY: takes numbers alone. It returns TC_ACT_REDIRECT, or TC_ACT_SHOT for flags that it does not know.
    let _action = unsafe { bpf_redirect(ifindex, 0) };
    TC_ACT_REDIRECT as u32
}
