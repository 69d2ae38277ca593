//! `natgw detach`: takes a data plane down that no daemon owns any more.

use std::path::Path;

use super::error::Error;
use crate::datapath::pins::Pins;
use crate::datapath::{attach, guard, links};
use crate::host::neighbours::Keeper;
use crate::host::offloads::Offloads;
use crate::host::state::{RunState, StateDir};
use crate::host::sysctls::Sysctls;
use crate::host::{addresses, bpffs, namespace};

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

/// The network namespace of a gateway: what it changed can be undone only there, and anywhere else the same names and
/// indexes are those of other interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// The calling thread is in it.
    Here,
    /// It is gone, and what was changed in it went along.
    Gone,
}

/// Moves the calling thread into the gateway's network namespace, where all of `detach` must happen; to be called
/// before anything is touched. An error when that namespace cannot be found and something is still attached in it.
pub fn enter_home(state_dir: &Path, bpffs_path: &Path) -> Result<Home, Error> {
    // Looking does not create the directory.
    let recorded = if state_dir.is_dir() { StateDir::open(state_dir)?.read()? } else { None };
    let pins = Pins::new(bpffs::resolve(bpffs_path)?);
    let inode = match recorded {
        Some(state) => Some(state.namespace()),
        None => pins.namespace()?,
    };
    let Some(inode) = inode else { return Ok(Home::Here) };
    if namespace::enter(inode)? {
        return Ok(Home::Here);
    }
    if links::attached(&pins)?.is_empty() {
        return Ok(Home::Gone);
    }
    Err(Error::Elsewhere { inode, state_dir: state_dir.to_owned(), pins: pins.dir().to_owned() })
}

/// Takes the data plane down, in the order in which a daemon does. Refused while a daemon runs. `home` is what
/// [`enter_home`] found.
pub async fn detach(
    state_dir: &Path,
    bpffs_path: &Path,
    leave: Leave,
    home: Home,
) -> Result<Detached, Error> {
    let mut state = StateDir::open(state_dir)?;
    let lock = state.try_lock()?;
    match take_down(&state, bpffs_path, home).await {
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

async fn take_down(state: &StateDir, bpffs_path: &Path, home: Home) -> Result<Detached, Error> {
    let root = bpffs::resolve(bpffs_path)?;
    let pins = Pins::new(&root);
    let found = if pins.exist() || !pins.other_versions()?.is_empty() {
        Detached::DataPlane
    } else {
        Detached::Nothing
    };
    let pin_lock = pins.lock()?;
    let recorded = state.read()?;
    let interfaces = interfaces(&pins, recorded.as_ref())?;
    if home == Home::Here {
        Sysctls::restore_saved(state)?;
        addresses::remove_all_eips(state).await?;
    }
    attach::detach_paths(&pins)?;
    if home == Home::Here {
        Offloads::restore_saved(state)?;
        Keeper::on(&interfaces).await?.unmanage_all().await?;
        guard::detach_filters(&pins)?;
    }
    pins.remove_all()?;
    drop(pin_lock);
    bpffs::unmount_if_ours(&root)?;
    Ok(found)
}

/// The gateway's own, by index.
fn interfaces(pins: &Pins, recorded: Option<&RunState>) -> Result<Vec<u32>, Error> {
    let recorded = recorded.map(|s| s.interfaces.as_slice()).unwrap_or_default();
    let mut all: Vec<u32> = recorded.iter().filter(|i| !i.missing).map(|i| i.ifindex).collect();
    all.extend(links::places(pins)?.into_iter().map(|(_, index)| index));
    Ok(all)
}
