//! `state.json`: who runs here, and what natgw changed on the host and must undo.

use std::{collections::BTreeSet, fs, net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::host::{error::Error, namespace};
use crate::model::interface::Interface;

/// `state.json`. Changed through [`super::StateDir::update`], so that no part of natgw loses another's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    /// natgw's version.
    pub version: String,
    /// The daemon.
    pub pid: u32,
    /// When it started, in seconds since the epoch.
    pub started: u64,
    /// Where the pins are (without the schema directory).
    pub bpffs: PathBuf,
    /// Managed interfaces, those that are missing included.
    pub interfaces: Vec<Interface>,
    /// Names of all interfaces that this state's runs have managed: noted before anything is changed on them, so that a
    /// record of any other one is known for a foreign one.
    pub managed: BTreeSet<String>,
    /// Every EIP.
    pub eips: Vec<Ipv4Addr>,
    /// What sysctls were before natgw changed them.
    pub sysctls: Vec<SavedSysctl>,
    /// Interfaces on which natgw turned `rxvlan` off.
    pub offloads: Vec<SavedOffload>,
    /// EIPs that natgw added to an interface.
    pub addresses: Vec<AddedAddress>,
    /// Interfaces whose address is an EIP, and the address that each has.
    pub followed: Vec<FollowedEip>,
    /// Sysctls that natgw needs, and that somebody else sets back again and again.
    pub contested: Vec<ContestedSysctl>,
    /// The data plane stays when the daemon stops.
    pub persist: bool,
    /// Directories that natgw made for its state, the innermost first; they go when nothing is left to record.
    pub directories: Vec<PathBuf>,
    /// The boot that all this is true for.
    pub(super) boot_id: String,
    /// The network namespace (inode) that all this is true for.
    pub(super) netns: u64,
}

/// A sysctl that natgw changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSysctl {
    /// Interface name.
    pub interface: String,
    /// Interface index: a new interface of the same name has nothing to restore.
    pub ifindex: u32,
    /// Key below `net.ipv4.conf.<interface>`.
    pub key: String,
    /// Value before.
    pub original: String,
    /// Value that natgw wrote; when it is another by now, somebody else owns it.
    pub applied: String,
    /// Value of `all` then. Of `forwarding`, `all` is the master switch: setting it sets every interface's.
    #[serde(default)]
    pub all: String,
}

/// A sysctl that natgw needs, and that somebody else sets back again and again, or that cannot be set.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContestedSysctl {
    /// Interface name.
    pub interface: String,
    /// Key below `net.ipv4.conf.<interface>`.
    pub key: String,
    /// What natgw needs.
    pub wanted: String,
    /// What somebody else wants.
    pub found: String,
}

/// An interface whose address is an EIP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowedEip {
    /// Interface name.
    pub interface: String,
    /// The EIP; `None` when the interface had no address yet.
    pub addr: Option<Ipv4Addr>,
}

/// An interface that took 802.1Q tags off (`rxvlan`) before natgw turned that off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOffload {
    /// Interface name.
    pub interface: String,
    /// Interface index: a new interface of the same name has nothing to restore.
    pub ifindex: u32,
}

/// An EIP that natgw added.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AddedAddress {
    /// The EIP, as /32.
    pub addr: Ipv4Addr,
    /// Interface name.
    pub interface: String,
    /// Interface index.
    pub ifindex: u32,
}

impl RunState {
    /// An empty state for this process, boot and network namespace.
    pub fn here() -> Result<Self, Error> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_secs()),
            boot_id: boot_id()?,
            netns: namespace::current()?,
            ..Self::default()
        })
    }

    /// Whether it tells of the network namespace that the calling thread is in. In any other one the recorded
    /// interfaces are different interfaces.
    pub fn is_of_this_namespace(&self) -> Result<bool, Error> {
        Ok(self.netns == namespace::current()?)
    }

    /// The inode number of that network namespace.
    pub fn namespace(&self) -> u64 {
        self.netns
    }
}

/// The kernel draws it anew at each boot.
pub(super) fn boot_id() -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(PATH).map_err(Error::read(PATH))?.trim().to_owned())
}
