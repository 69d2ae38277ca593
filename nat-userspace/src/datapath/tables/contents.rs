//! What the maps hold that the daemon writes, and a change to it.

use std::collections::{BTreeMap, HashMap};

use nat_common::eip::ReservedPort;
use nat_common::hop::Iface;
use nat_common::settings::Settings;
use nat_common::{Addr, Eip, PoolRef};

/// Bits that count, and the data that they are bits of.
pub type Prefix<K> = (u32, K);

/// What an LPM trie holds.
pub type Trie<K, V> = HashMap<Prefix<K>, V>;

/// Managed interfaces by their number, which is their place in the devmap: index, and what the packet path is told; `None` when
/// an earlier daemon died in the middle of a change.
pub type Interfaces = BTreeMap<u32, (u32, Option<Iface>)>;

/// What a configuration becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// `SETTINGS`.
    pub settings: Settings,
    /// `EXEMPT`.
    pub exempt: Trie<Addr, u32>,
    /// `RESERVED`.
    pub reserved: Trie<ReservedPort, u32>,
    /// `EIPS`.
    pub eips: HashMap<Addr, Eip>,
    /// `MEMBERS`, as far as `pools` refers to them.
    pub members: BTreeMap<u32, Eip>,
    /// `POOLS`.
    pub pools: Trie<Addr, PoolRef>,
    /// `CHOICES`, from the first element that a pool refers to, as far as pools refer to them.
    pub choices: Vec<u64>,
}

impl Default for Contents {
    /// Of maps that were just created.
    fn default() -> Self {
        Self {
            settings: bytemuck::Zeroable::zeroed(),
            exempt: Trie::new(),
            reserved: Trie::new(),
            eips: HashMap::new(),
            members: BTreeMap::new(),
            pools: Trie::new(),
            choices: Vec::new(),
        }
    }
}

/// One change to the maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Replace the settings.
    SetSettings(Box<Settings>),
    /// Route packets to these destinations untranslated.
    AddExempt(Prefix<Addr>),
    /// Translate them again.
    RemoveExempt(Prefix<Addr>),
    /// Claim none of these ports.
    AddReserved(Prefix<ReservedPort>),
    /// Claim them again.
    RemoveReserved(Prefix<ReservedPort>),
    /// Start the counters in a slot at zero, for the EIP that gets it.
    ZeroCounters {
        /// The slot.
        slot: u32,
    },
    /// Add an EIP, or change it.
    SetEip(Eip),
    /// Remove an EIP. The collector ends the flows that it still has.
    RemoveEip(Addr),
    /// Write a member of a pool.
    SetMember {
        /// Index into `MEMBERS`.
        place: u32,
        /// The member.
        eip: Eip,
    },
    /// Write tables of choices.
    SetChoices {
        /// Index into `CHOICES`.
        first: u32,
        /// The tables.
        words: Vec<u64>,
    },
    /// Let a pool serve these sources.
    SetPool(Prefix<Addr>, PoolRef),
    /// Let no pool serve them.
    RemovePool(Prefix<Addr>),
    /// Tell the MTU of routes to these destinations.
    SetRouteMtu(Prefix<Addr>, u32),
    /// Forget it.
    RemoveRouteMtu(Prefix<Addr>),
    /// Tell of an interface, or change what was told.
    SetInterface {
        /// Its place in the devmap.
        place: u32,
        /// Its index.
        index: u32,
        /// What the packet path is told.
        iface: Iface,
    },
    /// Let XDP redirect to an interface.
    SetTarget {
        /// Its place in the devmap.
        place: u32,
        /// Its index.
        index: u32,
    },
    /// Let tc send to it, what XDP would redirect there.
    RemoveTarget {
        /// Its place in the devmap.
        place: u32,
    },
    /// Forget an interface.
    RemoveInterface {
        /// Its place in the devmap.
        place: u32,
        /// Its index.
        index: u32,
    },
}
