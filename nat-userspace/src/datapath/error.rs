//! What can go wrong with the data plane, said so that the reader knows what to do.

use std::io;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::ProgramError;

use super::occupant::Occupant;

/// An error of the data plane.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The binary was built without the BPF object.
    #[error("this binary was built without its BPF object; build a complete one with `cargo xtask build`")]
    NoObject,
    /// The embedded object does not parse, or lacks something that this binary expects of it.
    #[error("the embedded BPF object is damaged ({what}); rebuild with `cargo xtask build`")]
    BadObject {
        /// What is wrong.
        what: String,
    },
    /// Maps could not be created, or the object could not be relocated.
    #[error(
        "cannot create the data plane's maps for {max_flows} flows (about {mib} MiB); lower max_flows, or see the cause"
    )]
    Maps {
        /// Configured number of flows.
        max_flows: u32,
        /// What the flow table locks, in MiB.
        mib: u64,
        /// Cause.
        #[source]
        source: Box<aya::EbpfError>,
    },
    /// The kernel refused a program.
    #[error("the kernel refused program {program}; natgw needs Linux 5.18 or newer with BPF.{log}")]
    Program {
        /// Program name.
        program: &'static str,
        /// The end of the verifier's log, each line indented; empty when there is none.
        log: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A program operation failed.
    #[error("{action}")]
    ProgramOperation {
        /// What was being done, on what.
        action: String,
        /// Cause.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map is missing or unusable.
    #[error("cannot {action} map {name}")]
    Map {
        /// What was being done.
        action: &'static str,
        /// Map name.
        name: &'static str,
        /// Cause.
        #[source]
        source: Box<MapError>,
    },
    /// A raw BPF system call failed.
    #[error("{action}")]
    Bpf {
        /// What was being done, on what.
        action: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A pin could not be handled.
    #[error("cannot {action} {}", path.display())]
    Pin {
        /// What was being done.
        action: &'static str,
        /// The pin.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Another kind of object has a pin's name.
    #[error(
        "{} is {found} where natgw pins {wanted}: somebody else put it there; `natgw detach` clears the directory, and \
         `natgw run` replaces the data plane",
        path.display()
    )]
    WrongPin {
        /// The pin.
        path: PathBuf,
        /// What is there.
        found: &'static str,
        /// What natgw pins there.
        wanted: &'static str,
    },
    /// Something that natgw never makes is in a directory of pins.
    #[error(
        "{} is not natgw's, and is in its directory of pins; look at it and remove it, then try again",
        path.display()
    )]
    ForeignPin {
        /// What is there.
        path: PathBuf,
    },
    /// The directory of pins is not natgw's alone.
    #[error(transparent)]
    Directory(#[from] crate::host::Error),
    /// There is no data plane at the pins.
    #[error("no gateway is up: nothing is pinned at {}; start one with `natgw run`, or name its directory with --bpffs", dir.display())]
    NotUp {
        /// The pin directory.
        dir: PathBuf,
    },
    /// Only root may look at pins.
    #[error("cannot look at the data plane in {}; run natgw as root", dir.display())]
    NotAllowed {
        /// The pin directory.
        dir: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Another natgw uses the same pins.
    #[error("{} is in use by another natgw; give this gateway a --bpffs and a --state-dir of its own", dir.display())]
    InUse {
        /// The pin directory.
        dir: PathBuf,
    },
    /// The pins belong to a gateway in another network namespace.
    #[error(
        "{} holds the data plane of a gateway in another network namespace; give this gateway a --bpffs and a \
         --state-dir of its own, or run `natgw detach` over there",
        dir.display()
    )]
    OtherNamespace {
        /// The pin directory.
        dir: PathBuf,
    },
    /// Somebody else's XDP program is on the interface.
    #[error(
        "{}",
        occupant.as_ref().map_or_else(
            || format!("another XDP program is attached to {interface}; see `bpftool net`, and stop its owner"),
            ToString::to_string
        )
    )]
    ForeignXdp {
        /// Interface.
        interface: String,
        /// The program, when the kernel tells of it.
        occupant: Option<Box<Occupant>>,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A program of somebody's network policy is on the interface.
    #[error(
        "{tenant}'s program {program} is on {interface}: it and natgw would take packets from each other; give natgw an interface \
         that {tenant} does not manage, or let {tenant} translate"
    )]
    Tenant {
        /// Interface.
        interface: String,
        /// The program.
        program: String,
        /// Whose it is.
        tenant: &'static str,
    },
    /// The tc program of another natgw is on the interface.
    #[error(
        "another natgw's program {program} is on {interface}: take that gateway down with `natgw detach --state-dir DIR`, DIR \
         being its own, or give this one another interface"
    )]
    AnotherNatgw {
        /// Interface.
        interface: String,
        /// The program.
        program: String,
    },
    /// XDP cannot be attached in the wanted mode.
    #[error("cannot attach {mode} XDP to {interface}{hint}")]
    Attach {
        /// Interface.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// What to do, starting with `; `, or empty.
        hint: &'static str,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The kernel gave a kind of link that does not survive the process.
    #[error(
        "the kernel attached {interface} without a bpf_link, which cannot be pinned; natgw needs Linux 5.18 or newer"
    )]
    NoLink {
        /// Interface.
        interface: String,
    },
    /// Interfaces, EIPs or prefixes beyond what the maps hold.
    #[error("{count} {what} are more than natgw handles ({limit})")]
    TooMany {
        /// What.
        what: &'static str,
        /// How many.
        count: usize,
        /// Limit.
        limit: u32,
    },
    /// No random bytes.
    #[error("cannot draw a secret from the kernel's random number generator")]
    Random(#[source] io::Error),
}

impl Error {
    pub(super) fn map(action: &'static str, name: &'static str) -> impl FnOnce(MapError) -> Self {
        move |source| Self::Map { action, name, source: Box::new(source) }
    }

    pub(super) fn program(action: impl Into<String>) -> impl FnOnce(ProgramError) -> Self {
        move |source| Self::ProgramOperation { action: action.into(), source: Box::new(source) }
    }

    pub(super) fn bpf(action: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Bpf { action: action.into(), source }
    }

    pub(super) fn pin(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Pin { action, path: path.into(), source }
    }
}
