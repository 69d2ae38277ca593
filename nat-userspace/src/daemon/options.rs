//! What a daemon needs to know beside its gateway.

use std::path::PathBuf;

use crate::config::Config;
use crate::config::flags::GatewayFlags;
use crate::datapath::load::LogLevel;

/// What a daemon needs to know beside its gateway.
#[derive(Clone, Debug)]
pub struct Options {
    /// What was typed about the gateway; its configuration is read again on a reload.
    pub flags: GatewayFlags,
    /// What that was when the daemon started.
    pub config: Box<Config>,
    /// `--state-dir`.
    pub state_dir: PathBuf,
    /// `--bpffs`.
    pub bpffs: PathBuf,
    /// What becomes of the data plane when the daemon stops.
    pub at_exit: AtExit,
    /// Slow-path diagnostics of the packet path.
    pub log: LogLevel,
}

/// What becomes of the data plane when the daemon stops.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtExit {
    /// It is taken down.
    #[default]
    TakeDown,
    /// It stays up and is adopted by the next start.
    Persist,
}
