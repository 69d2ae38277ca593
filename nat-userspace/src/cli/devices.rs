//! Names of the interfaces that flows leave by.

use std::collections::HashMap;

use super::args::Instance;
use crate::datapath::maps;

/// Devmap index to interface name, as of when it was read.
#[derive(Clone, Debug, Default)]
pub struct Devices {
    names: HashMap<u16, String>,
}

impl Devices {
    /// Reads the managed interfaces. One that is gone has no name.
    pub fn read(instance: &Instance) -> anyhow::Result<Self> {
        let indices = maps::ifindex(&super::pins(instance)?)?;
        let mut names = HashMap::new();
        for (devmap, ifindex) in (0u16..).zip(indices.iter()) {
            let ifindex = ifindex?;
            if ifindex != 0
                && let Ok(name) = nix::net::if_::if_indextoname(ifindex)
            {
                names.insert(devmap, name.to_string_lossy().into_owned());
            }
        }
        Ok(Self { names })
    }

    /// The interface with a devmap index.
    pub fn name(&self, devmap: u16) -> Option<String> {
        self.names.get(&devmap).cloned()
    }
}
