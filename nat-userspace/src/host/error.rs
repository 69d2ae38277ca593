//! What can go wrong between natgw and the host.

use std::{io, path::PathBuf};

/// Says what failed, on what, and what to do; the cause is the `source`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No netlink socket.
    #[error("cannot open a netlink socket; natgw must run as root (CAP_NET_ADMIN)")]
    NetlinkSocket(#[source] io::Error),
    /// The kernel refused a netlink request.
    #[error("cannot {doing}")]
    Netlink {
        /// In words: "add 203.0.113.10 to eth0".
        doing: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory cannot be written or created.
    #[error("cannot write {}; natgw must run as root", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The kernel's file does not say what it always says.
    #[error("{}: {content:?} is not what natgw expects there", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Its content.
        content: String,
    },
    /// No such interface.
    #[error("there is no interface {0} in this network namespace; `ip link` lists what there is")]
    NoInterface(String),
    /// EIPs to announce and no interface to announce them on.
    #[error("no outside interface for the EIP {0}; give one with --outside, or set announce = \"none\"")]
    NoOutside(std::net::Ipv4Addr),
    /// Another natgw has the state directory.
    #[error(
        "natgw runs already with the state directory {} ({}); stop it, or give this one its own --state-dir and --bpffs",
        dir.display(),
        pid.map_or_else(|| "pid unknown".to_owned(), |p| format!("pid {p}"))
    )]
    Locked {
        /// The state directory.
        dir: PathBuf,
        /// Who has it, when the lock file says so.
        pid: Option<u32>,
    },
    /// `state.json` is not what natgw writes.
    #[error(
        "{} is damaged: what natgw changed on this host cannot be undone from it; check sysctls and addresses, then delete it",
        path.display()
    )]
    StateCorrupt {
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        #[source]
        source: serde_json::Error,
    },
    /// `state.json` says what natgw never writes.
    #[error(
        "{} holds what natgw never writes: {what}. Nothing was undone from it; check sysctls, addresses and pins, then \
         delete it",
        path.display()
    )]
    StateForged {
        /// The file.
        path: PathBuf,
        /// What is wrong, on what.
        what: String,
    },
    /// Somebody else may have put it there, or could change it.
    #[error("{} {what}, so natgw does not use it; {remedy}", path.display())]
    NotPrivate {
        /// The file or directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do.
        remedy: String,
    },
    /// Another network namespace cannot be entered.
    #[error("cannot enter the network namespace {}; natgw must run as root (CAP_SYS_ADMIN)", path.display())]
    EnterNamespace {
        /// The namespace.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No bpffs where pins should go.
    #[error("cannot mount a bpffs at {}; mount one (`mount -t bpf bpf {}`) or choose another --bpffs", at.display(), at.display())]
    Bpffs {
        /// The mount point.
        at: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Other hosts have EIPs.
    #[error(
        "{}; take the address away from that host or leave the EIP out; `duplicate_check = false` (--duplicate-check false) \
         takes it all the same",
        super::conflict::sentence(conflicts)
    )]
    Duplicates {
        /// Which, and who; not empty.
        conflicts: Vec<super::conflict::Conflict>,
    },
    /// The gratuitous ARP could not be sent.
    #[error("cannot announce {addr} by ARP on {interface}")]
    Announce {
        /// The EIP.
        addr: std::net::Ipv4Addr,
        /// The interface.
        interface: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

impl Error {
    pub(super) fn read(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Read { path, source }
    }

    pub(super) fn write(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Write { path, source }
    }

    pub(super) fn netlink(doing: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let doing = doing.into();
        move |source| Self::Netlink { doing, source }
    }
}
