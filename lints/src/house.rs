//! Which module may import which: the one table of it.
//!
//! The names of a package's top-level modules (folders, or single files) stand in the order of their imports: each may
//! import what stands in a line above its own, or beside it in the same line, and nothing else. The crate's root (`lib.rs`,
//! `main.rs`) comes last. A module without a line is refused: it needs a decision. A line may name modules that are still to
//! come.
//!
//! Circles between modules are refused in every package, whether it has an order or not.

/// Top-level modules of package `name`, lowest first. Empty: any direction.
pub fn order(name: &str) -> &'static [&'static str] {
    match name {
        "nat-common" => NAT_COMMON,
        "nat-ebpf" => NAT_EBPF,
        "nat-userspace" => NAT_USERSPACE,
        _ => &[],
    }
}

const NAT_COMMON: &[&str] = &[
    "pod list",
    "num hash bucket wire tuple",
    "nh",
    "ports answer",
    "verdict",
    "hop",
    "flow",
    "table",
    "abi",
];

const NAT_EBPF: &[&str] = &[
    "kernel", "work", "maps", "budget", "frame", "report", "table", "wire", "hop", "flow", "policy",
    "mapping", "verdict", "icmp", "pipeline", "control", "guard",
];

const NAT_USERSPACE: &[&str] = &["model", "host", "config", "datapath", "observe", "daemon", "api", "cli"];
