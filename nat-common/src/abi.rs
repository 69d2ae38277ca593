//! Names and versions by which programs find each other's pins.

/// Version of every layout in this crate. Part of the pin directory's name: a gateway never adopts maps of
/// another layout. Bump on any change to a map's key, value or meaning.
pub const SCHEMA: u32 = 4;

/// Map names: at most 15 characters, the kernel cuts the rest off.
pub mod map {
    /// ARRAY of [`crate::FlowEntry`], see [`crate::table`]. May be mapped into memory.
    pub const FLOWS: &str = "FLOWS";
    /// HASH: EIP [`crate::Addr`] to [`crate::Eip`].
    pub const EIPS: &str = "EIPS";
    /// LPM: inside source prefix to [`crate::PoolRef`].
    pub const POOLS: &str = "POOLS";
    /// ARRAY of [`crate::Eip`], the same as in `EIPS`, sliced by [`crate::PoolRef`].
    pub const MEMBERS: &str = "MEMBERS";
    /// LPM: destination prefix that is routed, not translated, to u32 1.
    pub const EXEMPT: &str = "EXEMPT";
    /// ARRAY of one [`crate::table::Occupancy`]. May be mapped into memory.
    pub const TAKEN: &str = "TAKEN";
    /// ARRAY of [`crate::hop::HopSlot`]. May be mapped into memory.
    pub const HOPS: &str = "HOPS";
    /// HASH: ifindex (u32) to [`crate::hop::Iface`].
    pub const IFACES: &str = "IFACES";
    /// DEVMAP of managed interfaces.
    pub const DEVICES: &str = "DEVICES";
    /// ARRAY: devmap index to ifindex (u32).
    pub const IFINDEX: &str = "IFINDEX";
    /// `LRU_HASH`: [`crate::hop::NextHop`] to u32 1.
    pub const NEXTHOPS: &str = "NEXTHOPS";
    /// ARRAY of one [`crate::settings::Settings`].
    pub const SETTINGS: &str = "SETTINGS";
    /// `PERCPU_ARRAY` of one [`crate::stats::Stats`].
    pub const STATS: &str = "STATS";
    /// `PERCPU_ARRAY` of [`crate::stats::EipStats`].
    pub const EIP_STATS: &str = "EIP_STATS";
    /// `LRU_HASH`: destinations that ran short of ports.
    pub const SCARCE: &str = "SCARCE";
    /// `LRU_HASH`: the [`crate::Tuple`] of the answer to a ping of the host's own from a shared EIP, to the
    /// [`crate::Stamp`] of the ping.
    pub const PINGS: &str = "PINGS";
    /// LPM: destination prefix to the `mtu` of its route (u32, bytes; 0: the route has none).
    pub const ROUTE_MTU: &str = "ROUTE_MTU";
    /// LPM: [`crate::eip::ReservedPort`] to u32 1.
    pub const RESERVED: &str = "RESERVED";
    /// `PERCPU_ARRAY` of one budget record, private to the packet path.
    pub const BUDGET: &str = "BUDGET";
    /// RINGBUF of [`crate::event::Event`].
    pub const EVENTS: &str = "EVENTS";

    /// Every map that is pinned.
    pub const ALL: [&str; 20] = [
        FLOWS, TAKEN, EIPS, POOLS, MEMBERS, EXEMPT, HOPS, IFACES, DEVICES, IFINDEX, NEXTHOPS, SETTINGS,
        STATS, EIP_STATS, SCARCE, PINGS, ROUTE_MTU, RESERVED, BUDGET, EVENTS,
    ];
}

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

/// Default number of flows when neither configuration nor memory says otherwise.
pub const MAX_FLOWS: u32 = 1_000_000;

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
