//! Packets that were counted as sent and then lost, by the interface that they were sent to.

use bytemuck::{Pod, Zeroable};

/// An element of `LOST`, per CPU, indexed by the number of the egress interface ([`crate::hop::Iface::devmap`]). Every field
/// only grows; a number may be given to another interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct Lost {
    /// The kernel refused the redirect: the device is not ready to take frames, is down, or has a smaller MTU.
    pub refused: u64,
    /// The device's driver took the frames and dropped them.
    pub dropped: u64,
    /// The driver could not send a frame back by the interface that it came by (`XDP_TX`).
    pub back: u64,
}

impl Lost {
    /// All of them.
    pub const fn total(&self) -> u64 {
        self.refused + self.dropped + self.back
    }

    /// The counters of all CPUs.
    pub fn sum<'a>(cpus: impl IntoIterator<Item = &'a Self>) -> Self {
        cpus.into_iter().fold(Self::default(), |sum, cpu| Self {
            refused: sum.refused + cpu.refused,
            dropped: sum.dropped + cpu.dropped,
            back: sum.back + cpu.back,
        })
    }
}

crate::map_value!(Lost);
