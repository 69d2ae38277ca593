//! Why a gateway cannot run.

use std::path::PathBuf;

use crate::{datapath, export::metrics, net};

/// An error of the daemon. What happened, on what, is said by the variants' own errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The data plane.
    #[error(transparent)]
    Datapath(#[from] datapath::Error),
    /// The host.
    #[error(transparent)]
    Host(#[from] net::Error),
    /// Metrics.
    #[error(transparent)]
    Metrics(#[from] metrics::Error),
    /// Signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[source] std::io::Error),
    /// An interface vanished between validation and use.
    #[error("interface {0} is gone; natgw starts once it exists (see `ip link`)")]
    NoInterface(String),
    /// `detach` where the gateway is not.
    #[error(
        "the gateway of {} is in another network namespace, where its addresses and sysctls are to be restored: run \
         `natgw detach` in there (`ip netns exec NAME natgw ...`)",
        .0.display()
    )]
    Elsewhere(PathBuf),
    /// The kernel closed the netlink socket.
    #[error("the kernel stopped reporting changes of interfaces, routes and neighbours; restart natgw")]
    WatchEnded,
}
