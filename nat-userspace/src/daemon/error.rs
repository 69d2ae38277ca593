//! Why a gateway cannot run.

use std::path::PathBuf;

use crate::model::path::Refusal;
use crate::{config, datapath, host, observe::metrics};

/// An error of the daemon. What happened, on what, is said by the variants' own errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data plane.
    #[error(transparent)]
    Datapath(#[from] datapath::Error),
    /// The host.
    #[error(transparent)]
    Host(#[from] host::Error),
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// The configuration, when it is read again.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// The configuration, when it is read again, wants what a running gateway cannot change.
    #[error(
        "{} cannot change while natgw runs and {} a restart (with --persist it loses no flow); nothing of the \
         configuration was applied",
        keys.join(", "), if keys.len() == 1 { "needs" } else { "need" }
    )]
    NeedsRestart {
        /// Configuration keys.
        keys: Vec<&'static str>,
    },
    /// Signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// An interface vanished between validation and use.
    #[error("interface {0} is gone; natgw starts once it exists (see `ip link`)")]
    NoInterface(String),
    /// natgw cannot work on an interface.
    #[error("natgw cannot use interface {interface}: {why}")]
    Unusable {
        /// Interface.
        interface: String,
        /// Why, and what to do.
        why: Refusal,
    },
    /// The gateway's network namespace cannot be found, so nothing can be undone there.
    #[error(
        "the gateway is in another network namespace (net:[{inode}]), to which neither a process nor a name in /run/netns \
         leads; run `natgw --state-dir {} detach` in there. Nothing was touched. If that namespace is gone for good, \
         remove {} and {}",
        state_dir.display(), pins.display(), state_dir.display()
    )]
    Elsewhere {
        /// The namespace.
        inode: u64,
        /// The gateway's state.
        state_dir: PathBuf,
        /// The gateway's pins.
        pins: PathBuf,
    },
    /// The kernel closed the netlink socket.
    #[error("the kernel stopped reporting changes of interfaces, routes and neighbours; restart natgw")]
    WatchEnded,
}

/// An error with its causes, in one line.
pub(super) fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(e) = cause {
        let text = e.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = e.source();
    }
    line
}
