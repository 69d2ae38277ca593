//! What an XDP program tells the ingress guard of the same interface about a packet that it translated and cannot send itself.

use bytemuck::{Pod, Zeroable};

use crate::hop::NextHop;

/// XDP metadata: it stands in front of the translated frame.
///
/// The same for all packets of a flow in one direction, because the kernel merges only packets with equal metadata (GRO).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Handover {
    /// [`crate::settings::Settings::handover_mark`]. Drawn at random: metadata stays with a packet that crosses a veth, so whoever
    /// may load XDP programs at the other end can put any other number there.
    pub mark: [u32; 2],
    /// Where the packet goes.
    pub to: NextHop,
}

impl Handover {
    /// [`Self::to`] of a packet that the kernel forwards.
    pub const KERNEL: NextHop = NextHop { ifindex: 0, addr: crate::Addr { be: 0 } };

    /// [`Self::to`] of a frame that is addressed already, and leaves by the interface `ifindex`.
    #[inline(always)]
    pub const fn addressed(ifindex: u32) -> NextHop {
        NextHop { ifindex, addr: crate::Addr { be: 0 } }
    }
}

const _: () = assert!(
    size_of::<Handover>() == 16,
    "at most 32, in steps of 4 (net/core/filter.c, bpf_xdp_adjust_meta)"
);
