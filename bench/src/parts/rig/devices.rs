//! What the devices' own counters say: a second opinion on what was delivered, and where the rest was lost.

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Netns;

use super::gateways::{Ends, Gateway, Kind};

/// Packets that devices counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Devices {
    /// Received where the receiver's program sits.
    pub received: u64,
    /// Found no room in the ring of the gateway's inside interface: the gateway was too slow.
    pub lost_at_input: u64,
    /// Found no room in the ring of the far end.
    pub lost_at_output: u64,
}

impl Devices {
    /// Since the devices were created.
    pub fn read(ends: &Ends, gateway: &Gateway<'_>) -> Result<Self> {
        let inside = Counters::read(gateway.ns, &gateway.inside())?;
        let far = Counters::read(&ends.far, &gateway.far_device())?;
        Ok(Self {
            received: if gateway.kind == Kind::Ceiling { inside.received } else { far.received },
            lost_at_input: inside.dropped,
            lost_at_output: far.dropped,
        })
    }

    /// Since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            received: self.received.saturating_sub(earlier.received),
            lost_at_input: self.lost_at_input.saturating_sub(earlier.lost_at_input),
            lost_at_output: self.lost_at_output.saturating_sub(earlier.lost_at_output),
        }
    }

    /// Fails when the receiver's program counted other than its device.
    pub fn confirm(&self, delivered: u64) -> Result<()> {
        // An ARP request or two of natgw's daemon are packets for both, but may fall between two readings.
        ensure!(
            self.received.abs_diff(delivered) <= 16,
            "the receiver counted {delivered} packets, its device {}",
            self.received
        );
        Ok(())
    }
}

/// Of one device.
struct Counters {
    received: u64,
    /// In a veth's, what its peer sent and found no room for is among them.
    dropped: u64,
}

impl Counters {
    fn read(ns: &Netns, device: &str) -> Result<Self> {
        let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
        let line = text.lines().find_map(|l| l.trim_start().strip_prefix(device)?.strip_prefix(':'));
        let numbers: Vec<u64> =
            line.unwrap_or_default().split_whitespace().map_while(|n| n.parse().ok()).collect();
        // bytes packets errs drop ...
        let [_, received, _, dropped, ..] = numbers[..] else {
            return None
                .with_context(|| format!("no counters of {device} in /proc/net/dev of {}", ns.name()));
        };
        Ok(Self { received, dropped })
    }
}
