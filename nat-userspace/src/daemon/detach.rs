//! `natgw detach`: takes a data plane down that no daemon owns any more.

use std::path::Path;

use super::Error;
use crate::datapath::pins::Pins;
use crate::datapath::{attach, guard};
use crate::net::neighbours::Keeper;
use crate::net::offloads::Offloads;
use crate::net::state::StateDir;
use crate::net::sysctls::Sysctls;
use crate::net::{addresses, bpffs};

/// How thorough to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leave {
    /// A state directory that natgw did not make stays.
    #[default]
    OthersDirectory,
    /// Not a trace.
    Nothing,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detached {
    /// A data plane, which is gone now.
    DataPlane,
    /// None; remains of a run, if any, were removed.
    Nothing,
}

/// Takes the data plane down, in the order in which a daemon does. Refused while a daemon runs.
pub async fn detach(state_dir: &Path, bpffs_path: &Path, leave: Leave) -> Result<Detached, Error> {
    let mut state = StateDir::open(state_dir)?;
    let lock = state.try_lock()?;
    match take_down(&state, bpffs_path).await {
        Ok(found) => {
            match leave {
                Leave::OthersDirectory => state.leave(lock)?,
                Leave::Nothing => state.leave_nothing(lock)?,
            }
            Ok(found)
        }
        Err(e) => {
            if matches!(state.read(), Ok(None)) {
                state.leave(lock)?;
            }
            Err(e)
        }
    }
}

async fn take_down(state: &StateDir, bpffs_path: &Path) -> Result<Detached, Error> {
    let root = bpffs::resolve(bpffs_path)?;
    let pins = Pins::new(&root);
    let found = if pins.exist() || !pins.other_versions()?.is_empty() {
        Detached::DataPlane
    } else {
        Detached::Nothing
    };
    let recorded = state.read()?;
    let is_here = recorded.as_ref().is_some_and(|s| s.is_of_this_namespace().unwrap_or(false));
    // Interfaces that are gone went with their namespace, or at least with their sysctls and addresses.
    if recorded.is_some() && !is_here && !attach::attached(&pins)?.is_empty() {
        return Err(Error::Elsewhere(state.path().to_owned()));
    }
    let pin_lock = pins.lock()?;
    if is_here {
        Sysctls::restore_saved(state)?;
        addresses::remove_all_eips(state).await?;
    }
    attach::detach_xdp(&pins)?;
    Offloads::restore_saved(state)?;
    if found == Detached::DataPlane {
        Keeper::new().await?.unmanage_all().await?;
    }
    guard::detach_filters(&pins)?;
    pins.remove_all()?;
    drop(pin_lock);
    bpffs::unmount_if_ours(&root)?;
    Ok(found)
}
