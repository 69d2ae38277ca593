//! Where flows leave: interfaces and next hops by name.

use std::collections::HashMap;

use nat_common::HopStamp;

use super::flows::HopView;
use super::stats::Losses;
use crate::datapath::Error;
use crate::datapath::hops::Hops;
use crate::datapath::inspect::Inspect;
use crate::host::state::RunState;

/// Devmap index to interface name, as of when it was read, and the next hops.
pub struct Devices {
    names: HashMap<u16, String>,
    hops: Hops,
}

impl Devices {
    /// Reads the managed interfaces. One that is gone has no name. `state`: what the daemon recorded.
    pub fn read(inspect: &Inspect, state: Option<&RunState>) -> Result<Self, Error> {
        let named = |(devmap, ifindex)| Some((devmap, name(state, ifindex)?));
        let names = inspect.interfaces()?.into_iter().filter_map(named).collect();
        Ok(Self { names, hops: inspect.hops()? })
    }

    /// Where flows with this stamp go; `None` when that is to be resolved anew, and when the kernel forwards them.
    pub fn hop(&self, stamp: HopStamp) -> Option<HopView> {
        let hop = self.hops.get(stamp)?;
        let dev = self.names.get(&hop.egress)?.clone();
        Some(HopView { dev, mac: hop.dmac.map(|b| format!("{b:02x}")).join(":") })
    }
}

/// What interfaces lost, by name. One that is gone has none, and is left out.
pub fn losses(inspect: &Inspect, state: Option<&RunState>) -> Result<Losses, Error> {
    let named = |(ifindex, lost)| Some((name(state, ifindex)?, lost));
    Ok(Losses(inspect.lost()?.into_iter().filter_map(named).collect()))
}

/// The name of an interface. In another network namespace than the gateway's, only its record tells: the index is that
/// of another interface here.
fn name(state: Option<&RunState>, ifindex: u32) -> Option<String> {
    let is_elsewhere = |s: &&RunState| !s.is_of_this_namespace().unwrap_or(true);
    if let Some(state) = state.filter(is_elsewhere) {
        let interface = state.interfaces.iter().find(|i| i.ifindex == ifindex && !i.missing);
        return interface.map(|i| i.name.clone());
    }
    nix::net::if_::if_indextoname(ifindex).ok().map(|name| name.to_string_lossy().into_owned())
}
