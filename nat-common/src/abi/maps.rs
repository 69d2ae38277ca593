//! The one list of maps that are pinned: name, kind, types, size, and who may do what with each.
//!
//! Everything that needs a list is made of it by [`for_each_map`](crate::for_each_map): the names, here; the maps themselves, in
//! nat-ebpf; and a typed handle of each, in nat-userspace (`datapath::maps`). What one CPU alone uses while it handles a packet
//! is not pinned, and not in the list.

/// Default number of flows when neither configuration nor memory says otherwise.
pub const MAX_FLOWS: u32 = 1_000_000;

/// Flags of a map, by the word that its line begins with.
pub mod access {
    /// Userspace and BPF programs use system calls and helpers.
    pub const PLAIN: u32 = 0;
    /// As [`PLAIN`], and memory is taken element by element, as the kernel demands of LPM tries (`BPF_F_NO_PREALLOC`).
    pub const SPARSE: u32 = 1;
    /// Userspace maps it into memory (`BPF_F_MMAPABLE`).
    pub const MAPPED: u32 = 1 << 10;
    /// Userspace reads many elements at a time: a map that loses elements while it is walked one by one starts over.
    pub const BATCHED: u32 = 0;
    /// Userspace has no business with it.
    pub const INTERNAL: u32 = 0;
}

/// Calls the macro that it is given with a line for each map that is pinned:
///
/// `ACCESS Kind NAME handle (Key, Value) [elements];`
///
/// The access is one of [`access`]; the kind is named as both aya and aya-ebpf name it; an array has no key
/// type, a devmap no types. `handle` is the function in nat-userspace that opens the map. A name has at most 15 characters, the
/// kernel cuts the rest off.
#[macro_export]
macro_rules! for_each_map {
    ($callback:ident) => {
        $callback! {
            /// The flow table, see `nat_common::table`. Only BPF programs write it.
            MAPPED Array FLOWS flows ($crate::FlowEntry) [$crate::table::slots($crate::maps::MAX_FLOWS)];
            /// How full the flow table is.
            MAPPED Array TAKEN taken ($crate::table::Occupancy) [1];
            /// The EIPs.
            PLAIN HashMap EIPS eips ($crate::Addr, $crate::Eip) [$crate::eip::MAX_EIPS];
            /// Inside source prefixes, and the pools that serve them.
            SPARSE LpmTrie POOLS pools ($crate::LpmAddr, $crate::PoolRef) [$crate::eip::MAX_PREFIXES];
            /// The same EIPs as in `EIPS`, sliced by `PoolRef`.
            PLAIN Array MEMBERS members ($crate::Eip) [$crate::eip::MAX_EIPS];
            /// Which member of its pool a client has for its own EIP, by bucket, four to a word.
            MAPPED Array CHOICES choices (u64) [$crate::eip::MAX_CHOICES];
            /// Destination prefixes that are routed, not translated; the value is 1.
            SPARSE LpmTrie EXEMPT exempt ($crate::LpmAddr, u32) [$crate::eip::MAX_PREFIXES];
            /// Next hops.
            MAPPED Array HOPS hops ($crate::hop::HopSlot) [$crate::hop::HOP_SLOTS];
            /// Managed interfaces, by ifindex.
            PLAIN HashMap IFACES ifaces (u32, $crate::hop::Iface) [$crate::hop::MAX_INTERFACES];
            /// Managed interfaces, as redirect targets.
            PLAIN DevMap DEVICES devices () [$crate::hop::MAX_INTERFACES];
            /// The ifindex behind an index of `DEVICES`.
            PLAIN Array IFINDEX ifindex (u32) [$crate::hop::MAX_INTERFACES];
            /// Neighbours that flows use, and when they did last.
            BATCHED LruHashMap NEXTHOPS nexthops ($crate::hop::NextHop, $crate::Stamp) [4096];
            /// Settings.
            PLAIN Array SETTINGS settings ($crate::settings::Settings) [1];
            /// Counters.
            PLAIN PerCpuArray STATS stats ($crate::stats::Stats) [1];
            /// Counters of EIPs, by `Eip::slot`.
            PLAIN PerCpuArray EIP_STATS eip_stats ($crate::stats::EipStats) [$crate::eip::MAX_EIPS];
            /// Destinations that ran short of ports.
            INTERNAL LruHashMap SCARCE scarce ($crate::scarce::Destination, $crate::scarce::Scarcity) [4096];
            /// The answer to a ping of the host's own from a shared EIP, and when the ping was sent.
            INTERNAL LruHashMap PINGS pings ($crate::Tuple, $crate::Stamp) [4096];
            /// Destination prefixes, and the `mtu` of their routes (bytes; 0: the route has none).
            SPARSE LpmTrie ROUTE_MTU route_mtu ($crate::LpmAddr, u32) [$crate::eip::MAX_ROUTE_MTUS];
            /// Ports that are never claimed; the value is 1.
            SPARSE LpmTrie RESERVED reserved ($crate::eip::ReservedPort, u32) [$crate::eip::MAX_RESERVED];
            /// What each CPU has spent this second on what a hostile host could ask for.
            INTERNAL PerCpuArray BUDGET budget ($crate::budget::Budget) [1];
            /// Packets that were sent and lost, by egress number.
            PLAIN PerCpuArray LOST lost ($crate::lost::Lost) [$crate::hop::MAX_INTERFACES];
            /// What userspace is told; the size is in bytes.
            PLAIN RingBuf EVENTS events ($crate::event::Event) [64 * 1024];
        }
    };
}

macro_rules! names {
    ($(
        $(#[$about:meta])*
        $access:ident $kind:ident $name:ident $handle:ident ($($type:ty),*) [$elements:expr];
    )+) => {
        /// Names of the maps.
        pub mod names {
            $(
                $(#[$about])*
                pub const $name: &str = stringify!($name);
            )+

            /// Every map that is pinned.
            pub const ALL: [&str; [$(stringify!($name)),+].len()] = [$($name),+];
        }
    };
}
for_each_map!(names);
