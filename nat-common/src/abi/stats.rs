//! Counters: one per-CPU array element, so counting never bounces a cache line.

use bytemuck::{Pod, Zeroable};

use crate::answer::{ANSWER_SLOTS, Answer};
use crate::verdict::{PassReason, Reason};

/// Room for drop reasons to come without a new schema.
pub const REASON_SLOTS: usize = 32;

/// Room for reasons to pass a frame, likewise.
pub const PASS_SLOTS: usize = 32;

/// Where a packet is counted, as AWS/NATGateway counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Meter {
    /// Received from inside hosts.
    SourceIn = 0,
    /// Sent to destinations.
    DestinationOut = 1,
    /// Received from destinations.
    DestinationIn = 2,
    /// Sent to inside hosts.
    SourceOut = 3,
}

impl Meter {
    /// Every meter, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::SourceIn, Self::DestinationOut, Self::DestinationIn, Self::SourceOut];

    /// Name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SourceIn => "source_in",
            Self::DestinationOut => "destination_out",
            Self::DestinationIn => "destination_in",
            Self::SourceOut => "source_out",
        }
    }
}

/// The one element of `STATS`, per CPU. Every field only grows.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
pub struct Stats {
    /// Packets, by [`Meter`]. In the map, what was received counts only where it was not sent on: see [`Stats::sum`].
    pub packets: [u64; 4],
    /// Bytes of IPv4, by [`Meter`]; likewise.
    pub bytes: [u64; 4],
    /// Packets dropped, by [`Reason`].
    pub drops: [u64; REASON_SLOTS],
    /// Packets dropped whose sender was told, by [`Answer`]. They count as dropped too.
    pub answers: [u64; ANSWER_SLOTS],
    /// Packets dropped whose sender would have been told, had the bucket not been empty.
    pub answers_limited: u64,
    /// New flows asked for, by protocol ([`crate::Proto::index`]).
    pub attempts: [u64; 3],
    /// TCP: handshakes completed; UDP and ICMP: flows answered.
    pub established: [u64; 3],
    /// Flows that ended idle rather than closed.
    pub idle_timeouts: [u64; 3],
    /// Flows inserted.
    pub births: [u64; 3],
    /// Flows deleted.
    pub deaths: [u64; 3],
    /// Flows taken back after their deadline by a packet that may start one.
    pub revivals: u64,
    /// Flows for which no port was found.
    pub port_allocation_errors: u64,
    /// Packets translated and left to the kernel to forward.
    pub handovers: u64,
    /// Hops resolved.
    pub hops_resolved: u64,
    /// Ports looked at while claiming.
    pub probes: u64,
    /// Births undone because another CPU was first.
    pub lost_races: u64,
    /// Frames left to the kernel as they came, by [`PassReason`].
    pub passes: [u64; PASS_SLOTS],
    /// Packets counted as sent that the kernel then refused or the driver dropped, by [`Meter`]. They count as dropped too.
    pub lost: [u64; 4],
    /// Flows whose first packet came with the checksum that a sender leaves to its offload, where nobody completes it.
    pub partial_checksums: u64,
    /// Packets dropped, and flows ended, because their way leads out of a link that their EIP does not belong to, and the pool has
    /// no EIP that does.
    pub wrong_link: u64,
}

impl Stats {
    /// The counters of all CPUs. Whatever was sent was received, so the packet path counts it once, and here it is added
    /// to what was received and went no further. What was lost on the way out was not sent; how many bytes it had nobody
    /// knows, so they stay with those that were sent.
    pub fn sum<'a>(cpus: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut sum: Self = Zeroable::zeroed();
        cpus.into_iter().for_each(|cpu| sum.add(cpu));
        for counts in [&mut sum.packets, &mut sum.bytes] {
            counts[Meter::SourceIn as usize] += counts[Meter::DestinationOut as usize];
            counts[Meter::DestinationIn as usize] += counts[Meter::SourceOut as usize];
        }
        for (sent, lost) in sum.packets.iter_mut().zip(sum.lost) {
            *sent = sent.saturating_sub(lost);
        }
        sum
    }

    /// Frames left to the kernel as they came, for whatever reason.
    pub fn passed(&self) -> u64 {
        self.passes.iter().sum()
    }

    /// Adds another CPU's counters.
    fn add(&mut self, other: &Self) {
        let mine: &mut [u64] = bytemuck::cast_slice_mut(core::slice::from_mut(self));
        let theirs: &[u64] = bytemuck::cast_slice(core::slice::from_ref(other));
        for (m, t) in mine.iter_mut().zip(theirs) {
            *m = m.wrapping_add(*t);
        }
    }
}

/// An element of `EIP_STATS`, per CPU, indexed by [`crate::Eip::slot`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct EipStats {
    /// Flows for which this EIP, the client's own, had no port (nor had the others), by protocol.
    pub port_allocation_errors: [u64; 3],
    /// Flows born on this EIP, by protocol.
    pub births: [u64; 3],
}

crate::map_value!(Stats, EipStats);
const _: () = assert!(
    Reason::ALL.len() <= REASON_SLOTS
        && Answer::ALL.len() <= ANSWER_SLOTS
        && PassReason::ALL.len() <= PASS_SLOTS
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_was_received() {
        let mut one: Stats = Zeroable::zeroed();
        (one.packets, one.bytes) = ([1, 10, 2, 20], [3, 30, 4, 40]);
        let sum = Stats::sum([&one, &one]);
        assert_eq!((sum.packets, sum.bytes), ([22, 20, 44, 40], [66, 60, 88, 80]));
    }

    #[test]
    fn what_was_lost_was_received_and_not_sent() {
        let mut one: Stats = Zeroable::zeroed();
        one.packets = [1, 10, 2, 20];
        (one.lost[Meter::DestinationOut as usize], one.lost[Meter::SourceOut as usize]) = (3, 5);
        assert_eq!(Stats::sum([&one]).packets, [11, 7, 22, 15]);
    }

    #[test]
    fn add_covers_every_field() {
        let mut one: Stats = Zeroable::zeroed();
        let words: &mut [u64] = bytemuck::cast_slice_mut(core::slice::from_mut(&mut one));
        for (i, w) in words.iter_mut().enumerate() {
            *w = i as u64;
        }
        let mut sum = one;
        sum.add(&one);
        let words: &[u64] = bytemuck::cast_slice(core::slice::from_ref(&sum));
        assert!(words.iter().enumerate().all(|(i, w)| *w == 2 * i as u64));
    }
}
