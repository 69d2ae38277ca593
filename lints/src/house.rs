//! Which module may import which: the one table of it.
//!
//! The names of a package's top-level modules (folders, or single files) stand in the order of their imports: each may
//! import what stands in a line above its own, or beside it in the same line, and nothing else. The crate's root (`lib.rs`,
//! `main.rs`) comes last. A module without a line is refused: it needs a decision. A line may name modules that are still to
//! come.
//!
//! Circles between modules are refused in every package, whether it has an order or not.

/// What a package must keep to.
#[derive(Clone, Copy)]
pub struct Rules {
    /// Top-level modules, lowest first. Empty: any direction.
    pub order: &'static [&'static str],
    /// Faults are printed, but do not fail: the package is being put in order. To be removed with the last fault.
    pub pending: bool,
}

/// The rules of package `name`.
pub fn rules(name: &str) -> Rules {
    match name {
        "nat-common" => Rules { order: NAT_COMMON, pending: false },
        "nat-ebpf" => Rules { order: NAT_EBPF, pending: false },
        "nat-userspace" => Rules { order: NAT_USERSPACE, pending: false },
        "nat-tests" => Rules { order: &[], pending: true },
        _ => Rules { order: &[], pending: false },
    }
}

const NAT_COMMON: &[&str] = &[
    "pod list",
    "num hash bucket icmp checksum stamp tuple",
    "nh",
    "ports answer budget scarce",
    "verdict",
    "hop",
    "entry eip event",
    "tcp",
    "timeouts",
    "table",
    "reap settings stats",
    "maps",
    "abi",
];

const NAT_EBPF: &[&str] = &[
    "kernel", "work", "maps", "budget", "frame", "report", "table", "wire", "hop", "flow", "policy",
    "mapping", "verdict", "icmp", "pipeline", "control", "guard",
];

const NAT_USERSPACE: &[&str] = &["model", "host", "config", "datapath", "observe", "daemon", "api", "cli"];
