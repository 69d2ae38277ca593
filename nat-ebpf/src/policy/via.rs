//! The interface by which a flow's packets come, where there are several inside ones: a packet that comes by another one
//! must have a source that is genuine there too.
//!
//! Its number is in six bits of the entry's `seen`, which every hit reads anyway: comparing them is all that it costs.

use nat_common::{FlowEntry, Reason, Verdict};

use super::source;
use crate::{
    frame::Frame,
    maps,
    table::EntryRef,
    work::{Work, packet::Arrival},
};

/// Whether the packet came by the interface that its flow's packets come by. One that came by another interface is good too if its
/// source is genuine there; the entry then remembers that interface.
#[inline(always)]
pub fn check<F: Frame>(frame: F, work: &mut Work, flow: EntryRef, seen: u32) -> Result<(), Verdict> {
    let via = of_arrival(frame, &mut work.arrival)?;
    if seen & FlowEntry::VIA == via {
        return Ok(());
    }
    if !source::is_genuine(frame, work) {
        return Err(Verdict::drop(Reason::SpoofedSource));
    }
    // The lookup may have found a dead entry, whose slot has been given to another flow since: nothing may be written to that.
    if !flow.is_still(&work.packet.tuple) {
        return Err(Verdict::drop(Reason::Expired));
    }
    flow.clear_seen(FlowEntry::VIA);
    flow.set_seen(via);
    Ok(())
}

/// The interface that the packet came by, as in `seen`.
#[inline(always)]
fn of_arrival<F: Frame>(frame: F, arrival: &mut Arrival) -> Result<u32, Verdict> {
    let ifindex = frame.ingress();
    if arrival.ifindex != ifindex {
        // An index is never an interface's again while natgw manages it under another number.
        let Some(iface) = maps::iface(ifindex) else { return Err(Verdict::drop(Reason::Policy)) };
        *arrival = Arrival { ifindex, via: FlowEntry::via(iface.devmap) };
    }
    Ok(arrival.via)
}
