//! What is pinned: names and versions by which programs find each other, and the values that maps hold.

pub mod budget;
pub mod conntrack;
pub mod eip;
pub mod event;
pub mod handover;
pub mod lost;
pub mod maps;
pub mod reap;
pub mod scarce;
pub mod settings;
pub mod stats;

/// Version of every layout in this crate. Part of the pin directory's name: a gateway never adopts maps of
/// another layout. Bump on any change to a map's key, value or meaning.
pub const SCHEMA: u32 = 5;

pub use crate::maps::{MAX_FLOWS, names as map};

/// Program names: the functions of these names in the BPF object.
pub mod program {
    /// Makes a constant of each line `NAME "name"`, and `ALL` of them.
    macro_rules! names {
        ($($(#[$about:meta])* $constant:ident $name:literal)+) => {
            $($(#[$about])* pub const $constant: &str = $name;)+
            /// Every program.
            pub const ALL: [&str; [$($name),+].len()] = [$($constant),+];
        };
    }

    names! {
        /// XDP on an inside interface.
        INSIDE "xdp_inside"
        /// XDP on an outside interface.
        OUTSIDE "xdp_outside"
        /// XDP on the one interface of a one-armed gateway.
        ONEARM "xdp_onearm"
        /// tc, ingress of an inside interface: the twin of [`INSIDE`].
        TC_INSIDE "tc_inside"
        /// tc, ingress of an outside interface.
        TC_OUTSIDE "tc_outside"
        /// tc, ingress of the one interface of a one-armed gateway.
        TC_ONEARM "tc_onearm"
        /// tc, ingress of an inside interface without link-layer header.
        L3_INSIDE "l3_inside"
        /// tc, ingress of an outside interface without link-layer header.
        L3_OUTSIDE "l3_outside"
        /// tc, ingress of the one interface of a one-armed gateway, without link-layer header.
        L3_ONEARM "l3_onearm"
        /// Unattached; run with a list of candidates.
        REAPER "reaper"
        /// tc, egress of outside interfaces.
        GUARD_EGRESS "guard_egress"
        /// tc, ingress of every managed interface.
        GUARD_INGRESS "guard_ingress"
        /// tc, egress of outside interfaces without link-layer header.
        GUARD_EGRESS_L3 "guard_egress_l3"
        /// tc, ingress of managed interfaces without link-layer header.
        GUARD_INGRESS_L3 "guard_in_l3"
    }

    /// Raw tracepoint programs, each with the tracepoint that it is for: they count what was sent and lost. A gateway
    /// works without them.
    pub const LOST: [(&str, &str); 3] = [
        ("lost_refused", "xdp_redirect_err"),
        ("lost_xmit", "xdp_devmap_xmit"),
        ("lost_back", "xdp_exception"),
    ];
}

/// Load-time constant: 1 when one interface is inside and outside at once (guards allow inside-to-inside).
pub const RODATA_ONE_ARMED: &str = "ONE_ARMED";

/// Load-time constant: 1 when there are several inside interfaces, so that a packet of a flow may come by another one than
/// its flow's packets do.
pub const RODATA_SEVERAL_INSIDE: &str = "SEVERAL_INSIDE";

/// Load-time constant: 1 when the kernel redirects frames that span several buffers (Linux 6.3); else natgw hands
/// them over.
pub const RODATA_REDIRECT_FRAGS: &str = "REDIRECT_FRAGS";

/// Load-time constant: 0 when the one interface of a one-armed gateway loses what is sent back by `XDP_TX`.
pub const RODATA_TRANSMITS: &str = "TRANSMITS";
/// Load-time constant: four numbers (u32), by which the programs of [`program::LOST`] know this gateway's devices. Offsets in
/// the kernel's structures, `net_device.ifindex`, `net_device.nd_net` and `net.ns.inum`; and the number (inode) of the
/// gateway's network namespace.
pub const RODATA_LOST: &str = "LOST_AT";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        let lost = program::LOST.map(|(name, _)| name);
        for name in map::ALL.iter().chain(&program::ALL).chain(&lost) {
            assert!(name.len() <= 15, "{name}");
        }
    }
}
