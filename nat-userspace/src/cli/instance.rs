//! Which gateway a verb talks to, and what of it can be read.

use std::path::PathBuf;

use clap::Args;

use crate::datapath::inspect::Inspect;
use crate::datapath::pins::Pins;
use crate::host::state::{RunState, StateDir};
use crate::host::{bpffs, process};

/// Which of the gateways on this host a verb talks to.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Instance")]
pub struct Instance {
    /// Directory of the daemon's state
    #[arg(long, global = true, value_name = "DIR", default_value = "/run/natgw")]
    pub state_dir: PathBuf,
    /// Directory of the pinned data plane, on a bpf file system [default: the one that the state directory
    /// records, else /sys/fs/bpf/natgw]
    #[arg(long, global = true, value_name = "DIR")]
    pub bpffs: Option<PathBuf>,
}

impl Instance {
    /// Where the data plane is, or will be, pinned. The state directory alone names an instance that ran.
    pub fn bpffs(&self) -> PathBuf {
        let recorded = || StateDir::recorded(&self.state_dir).ok().flatten().map(|s| s.bpffs);
        let usual = || PathBuf::from("/sys/fs/bpf/natgw");
        self.bpffs.clone().or_else(recorded).filter(|p| !p.as_os_str().is_empty()).unwrap_or_else(usual)
    }

    /// The pins there.
    pub fn pins(&self) -> anyhow::Result<Pins> {
        Ok(Pins::new(bpffs::resolve(&self.bpffs())?))
    }

    /// The instance's maps, whether its daemon runs or not.
    pub fn open(&self) -> anyhow::Result<Inspect> {
        Ok(Inspect::open(&self.pins()?)?)
    }

    /// What the daemon recorded.
    pub fn recorded(&self) -> anyhow::Result<Option<RunState>> {
        Ok(StateDir::recorded(&self.state_dir)?)
    }

    /// The daemon's process, when it runs. A state that cannot be read names none.
    pub fn daemon(&self) -> Option<u32> {
        let recorded = StateDir::recorded(&self.state_dir).ok().flatten();
        recorded.map(|s| s.pid).filter(|pid| process::is_natgw(*pid))
    }
}
