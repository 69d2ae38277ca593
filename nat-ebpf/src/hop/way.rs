//! How a translated packet leaves, once its hop is known.

use nat_common::{Answer, EGRESS_KERNEL, Reason, Verdict};

use crate::work::packet::Packet;

/// How a translated packet leaves.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Out of a managed interface, by natgw.
    Forward,
    /// To the kernel, which resolves the neighbour, fragments, or owns the device.
    Handover,
}

/// How a packet leaves by a hop with this MTU (0: not known) and egress; or why it may not.
#[inline(always)]
pub fn of(packet: &Packet, mtu: u16, egress: u16) -> Result<Way, Verdict> {
    if packet.ttl <= 1 {
        return Err(Verdict::answer(Reason::Ttl, Answer::TimeExceeded));
    }
    if mtu != 0 && packet.len > u32::from(mtu) {
        if !packet.dont_fragment {
            return Ok(Way::Handover);
        }
        return Err(Verdict::answer(Reason::Mtu, Answer::TooBig));
    }
    Ok(if egress == EGRESS_KERNEL { Way::Handover } else { Way::Forward })
}
