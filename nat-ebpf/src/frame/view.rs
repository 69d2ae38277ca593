//! The traits of frames.

use core::ffi::c_void;

use nat_common::hop::NextHop;

/// Which kind of program a frame was given to. A constant of each frame type, so that the compiler picks the branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// XDP.
    Xdp,
    /// tc, on a device with a link-layer header.
    Skb,
    /// tc, on a device without: a tunnel, PPP.
    Ip,
}

/// What a frame is on the wire: the kernel cuts what it put together of several packets ("GSO") apart again before it sends it.
#[derive(Clone, Copy)]
pub struct Wire {
    /// Packets.
    pub packets: u64,
    /// Their bytes of IPv4: every one has headers of its own.
    pub bytes: u64,
}

/// How a transport checksum changes, as sums that [`nat_common::checksum::Delta`] folds.
pub trait Change {
    /// By everything that is rewritten.
    fn whole(&self) -> u16;

    /// The same in two parts: by the addresses, which only the pseudo header has, and by ports.
    fn parts(&self) -> (u16, u16);
}

/// What can be read of a frame.
pub trait View: Copy {
    /// The context, as the kernel's types name it.
    type Context;

    /// Which kind of program this is.
    const KIND: Kind;

    /// Bytes in front of the network header: those of an Ethernet header, or 0 on a device that has no link-layer header.
    const LINK: usize;

    /// The context, for helpers that take it.
    fn context(self) -> *mut c_void;

    /// Address of the first byte of the link-layer header.
    fn start(self) -> usize;

    /// Address behind the last byte that may be read directly. The frame may be longer, see [`Self::len`].
    fn end(self) -> usize;

    /// Bytes of the whole frame, those that cannot be read directly included.
    fn len(self) -> u32;

    /// Index of the interface that the frame came by.
    fn ingress(self) -> u32;

    /// What the link-layer header says that follows it, network byte order.
    ///
    /// # Safety
    /// `start` is the start of the frame, which has its link-layer header.
    #[inline(always)]
    unsafe fn ethertype(self, start: usize) -> u16 {
        // SAFETY: the last two bytes of the link-layer header, by the caller's promise.
        unsafe { ((start + Self::LINK - 2) as *const u16).read() }
    }
}

/// What can be done with a frame.
pub trait Frame: View {
    /// Action number: the frame is dropped.
    const DROP: u32;

    /// Action number: the kernel gets the frame.
    const PASS: u32;

    /// Makes the headers readable directly, and `most` bytes where more than the headers of plain TCP is to be looked at, as far
    /// as the frame has them. Pointers into the frame are to be made anew.
    fn pull_headers(self, most: usize);

    /// The VLAN tag that the kernel has taken off and keeps beside the frame: its control information, host order.
    fn tag_beside(self) -> Option<u16>;

    /// Takes the first `tags` VLAN tags off, the one beside the frame included: whether that was possible. `None` where the caller
    /// moves the bytes itself. Pointers into the frame are to be made anew.
    fn pop_tags(self, tags: usize) -> Option<bool>;

    /// Whether the kernel has found that the frame is for another station. Where it has not looked yet, `false`.
    fn is_anothers(self) -> bool;

    /// Bytes of IPv4, where its header says `total`. It says 0 when they are too many for its field (`net/ipv4/ip_output.c`,
    /// `__ip_local_out`: "BIG TCP").
    fn total(self, total: u16) -> u32;

    /// Bytes of payload in each packet that the kernel cuts the frame into, but the last; 0 when it is one packet.
    fn gso_size(self) -> u32;

    /// What the frame is on the wire, where its largest packet has `len` bytes of IPv4.
    fn wire(self, len: u32) -> Wire;

    /// Moves the first byte of the frame by `bytes`: forward when positive, which takes bytes off. Pointers into the frame
    /// are to be made anew, and the link-layer header is to be written. `false` when the driver has no room for it; the frame is
    /// then as it was.
    fn move_start(self, bytes: i32) -> bool;

    /// Cuts the frame down to `len` bytes; one that is shorter stays as it is. `false` when that was not possible.
    fn cut_to(self, len: u32) -> bool;

    /// Copies `len` bytes of the frame from offset `from`; `false` when it has fewer.
    ///
    /// # Safety
    /// `len` bytes from `to` are writable.
    unsafe fn copy(self, from: u32, to: *mut u8, len: u32) -> bool;

    /// Has a translated packet leave by `to`, whose neighbour the kernel resolves, past the host's own forwarding; or by that
    /// forwarding ([`nat_common::handover::Handover::KERNEL`]). The action number; `None` when that is not possible. Pointers into
    /// the frame are to be made anew.
    fn hand_over(self, to: NextHop) -> Option<u32>;

    /// Sends the frame, which is addressed, out of the managed interface with this number: the action number. `None` when there is
    /// no such interface.
    fn send(self, egress: u16) -> Option<u32>;

    /// The same for a frame that a redirect between XDP devices would lose, because it spans several buffers.
    fn send_whole(self, egress: u16) -> Option<u32>;

    /// Tells the egress guard, if the frame will meet it, that the frame is natgw's.
    fn vouch(self);

    /// Sends the frame back out of the interface that it came by, where an egress guard is: the action number.
    fn send_back(self) -> u32;

    /// Applies the change of a pseudo header and ports to the transport checksum at `field`, whose offset in the frame is `at`.
    /// The checksum of a protocol where it is `optional` (UDP) stays zero when it is zero (RFC 768). `None` when it could not be
    /// changed; `Some(true)` when pointers into the frame are to be made anew.
    ///
    /// # Safety
    /// `field` points to the two bytes of the checksum, within the frame.
    unsafe fn adjust_checksum(
        self,
        field: *mut u8,
        at: u32,
        change: impl Change,
        optional: bool,
    ) -> Option<bool>;

    /// Whether the transport checksum at offset `at` is still to be completed, by the device that sends the frame or by whoever
    /// receives it on this host (`CHECKSUM_PARTIAL`). Pointers into the frame are to be made anew.
    fn is_partial(self, at: u32) -> bool;

    /// Puts an Ethernet header for IPv4 in front of a packet that came without one: destination's and source's address. Pointers
    /// into the frame are to be made anew. `false` when there is no room.
    fn put_link(self, macs: [u32; 3]) -> bool;
}
