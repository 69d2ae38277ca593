//! How a translated packet leaves, once its hop is known.

use nat_common::{Answer, EGRESS_KERNEL, Reason, Verdict};

use crate::work::{Work, route::Hop};

/// How a translated packet leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out of a managed interface, by natgw.
    Forward,
    /// To a neighbour that the kernel resolves, or by a device that natgw does not manage: by natgw all the same, so that the
    /// host's own firewall for what it forwards does not see it.
    Neighbour,
    /// To the kernel's forwarding, which fragments or encapsulates.
    Handover,
}

/// How the packet at hand leaves by its route; or why it may not.
#[inline(always)]
pub fn of(work: &Work) -> Result<Way, Verdict> {
    let Work { packet, route, .. } = work;
    let Hop { mtu, egress, .. } = route.hop;
    if packet.ttl <= 1 {
        return Err(Verdict::answer(Reason::Ttl, Answer::TimeExceeded));
    }
    // 0: not known.
    if mtu != 0 && packet.len > u32::from(mtu) {
        if !packet.dont_fragment {
            return Ok(Way::Handover);
        }
        return Err(Verdict::answer(Reason::Mtu, Answer::TooBig));
    }
    Ok(if egress != EGRESS_KERNEL {
        Way::Forward
    } else if route.next.ifindex != 0 {
        Way::Neighbour
    } else {
        Way::Handover
    })
}
