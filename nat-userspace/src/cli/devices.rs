//! Names of the interfaces that flows leave by.

use std::collections::HashMap;

use super::args::Instance;
use crate::datapath::maps;
use crate::net::state::RunState;

/// Devmap index to interface name, as of when it was read.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    names: HashMap<u16, String>,
}

impl Devices {
    /// Reads the managed interfaces. One that is gone has no name.
    pub fn read(instance: &Instance) -> anyhow::Result<Self> {
        let indices = maps::ifindex(&super::pins(instance)?)?;
        let state = super::status::recorded(&instance.state_dir)?;
        let mut names = HashMap::new();
        for (devmap, ifindex) in (0u16..).zip(indices.iter()) {
            let ifindex = ifindex?;
            if ifindex != 0
                && let Some(name) = name(state.as_ref(), ifindex)
            {
                names.insert(devmap, name);
            }
        }
        Ok(Self { names })
    }

    /// The interface with a devmap index.
    pub fn name(&self, devmap: u16) -> Option<String> {
        self.names.get(&devmap).cloned()
    }
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
