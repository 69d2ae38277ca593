//! Where packets were lost, as far as devices tell.

use anyhow::{Context as _, Result};

use super::gateways::{Ends, Gateway};
use crate::lab::Netns;

/// Packets that devices dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drops {
    /// Found no room in the ring of the gateway's inside interface: the gateway was too slow.
    pub at_input: u64,
    /// Found no room in the ring of the far end.
    pub at_output: u64,
}

impl Drops {
    /// Since the devices were created.
    pub fn read(ends: &Ends, gateway: &Gateway) -> Result<Self> {
        Ok(Self {
            at_input: received_dropped(&gateway.ns, &gateway.inside())?,
            at_output: received_dropped(&ends.far, &gateway.far_device())?,
        })
    }

    /// Since an earlier reading.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            at_input: self.at_input.saturating_sub(earlier.at_input),
            at_output: self.at_output.saturating_sub(earlier.at_output),
        }
    }
}

/// The receive drops of a device: in a veth's, those of its peer's that found no room are among them.
fn received_dropped(ns: &Netns, device: &str) -> Result<u64> {
    let text = ns.run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?;
    let line = text.lines().find_map(|l| l.trim_start().strip_prefix(device)?.strip_prefix(':'));
    // bytes packets errs drop ...
    let drops = line.and_then(|l| l.split_whitespace().nth(3)?.parse().ok());
    drops.with_context(|| format!("no receive drops of {device} in /proc/net/dev of {}", ns.name()))
}
