//! What is pinned: names and versions by which programs find each other, and the values that maps hold.

pub mod budget;
pub mod eip;
pub mod event;
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
        /// Unattached; run with a list of candidates.
        REAPER "reaper"
        /// tc, egress of outside interfaces.
        GUARD_EGRESS "guard_egress"
        /// tc, ingress of every managed interface.
        GUARD_INGRESS "guard_ingress"
    }
}

/// XDP metadata that marks a translated packet which natgw hands to the kernel; the ingress guards let it pass.
pub const HANDOVER_MARK: u32 = 0x6e61_7467;

/// Load-time constant: 1 when one interface is inside and outside at once (guards allow inside-to-inside).
pub const RODATA_ONE_ARMED: &str = "ONE_ARMED";

/// Load-time constant: 1 when there are several inside interfaces, so that a packet of a flow may come by another one than
/// its flow's packets do.
pub const RODATA_SEVERAL_INSIDE: &str = "SEVERAL_INSIDE";

/// Load-time constant: 1 when the kernel redirects frames that span several buffers (Linux 6.3); else natgw hands
/// them over.
pub const RODATA_REDIRECT_FRAGS: &str = "REDIRECT_FRAGS";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernel() {
        for name in map::ALL.iter().chain(&program::ALL) {
            assert!(name.len() <= 15, "{name}");
        }
    }
}
