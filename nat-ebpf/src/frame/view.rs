//! The traits of frames.

use core::ffi::c_void;

use nat_common::hop::NextHop;

/// Which kind of program a frame was given to. A constant of each frame type, so that the compiler picks the branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// XDP.
    Xdp,
    /// tc.
    Skb,
}

/// What can be read of a frame.
pub trait View: Copy {
    /// The context, as the kernel's types name it.
    type Context;

    /// Which kind of program this is.
    const KIND: Kind;

    /// Bytes in front of the network header: an Ethernet header.
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
}

/// What can be done with a frame.
pub trait Frame: View {
    /// Action number: the frame is dropped.
    const DROP: u32;

    /// Action number: the kernel gets the frame.
    const PASS: u32;

    /// Moves the first byte of the frame by `bytes`: forward when positive, which takes bytes off. Pointers into the frame
    /// are to be made anew. `false` when the driver has no room for it; the frame is then as it was.
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

    /// Sends the frame back out of the interface that it came by: the action number.
    fn send_back(self) -> u32;

    /// Applies the change `delta` of a pseudo header and ports to the transport checksum at `field`. The checksum of a
    /// protocol where it is `optional` (UDP) stays zero when it is zero (RFC 768).
    ///
    /// # Safety
    /// `field` points to the two bytes of the checksum, within the frame.
    unsafe fn adjust_checksum(self, field: *mut u8, delta: u16, optional: bool);
}
