//! Every refusal of a configuration: what is wrong, where it is written, what to do.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use ipnet::Ipv4Net;
use nat_common::Proto;
use nat_common::eip::{MAX_EIPS, MAX_LINKS, MAX_PREFIXES, MAX_RESERVED};
use nat_common::hop::MAX_INTERFACES;

use super::origin::Origin;
use crate::model::path::Refusal;
use crate::model::ports::Ports;

/// Most that `answers_per_second` can be.
pub(super) const MAX_ANSWERS: u32 = 1_000_000;

/// Why a configuration is refused. Nothing on the host has been touched.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong kind.
    #[error("{at}: {message}")]
    Syntax {
        /// Where.
        at: Origin,
        /// What is wrong, and what may stand there.
        message: String,
    },
    /// A key or value of the documented configuration that this version cannot honour.
    #[error("{at}: {what} is not supported by this version of natgw; {remedy}")]
    Unsupported {
        /// Where.
        at: Origin,
        /// The key or value.
        what: String,
        /// What to write instead.
        remedy: &'static str,
    },
    /// No inside or no outside interface.
    #[error("no {0} interface is configured; give --{0} IF or {0} = [\"IF\"] under [interfaces]")]
    NoInterface(&'static str),
    /// No EIP at all.
    #[error("no EIP is configured; give --eip ADDR or eips = [\"ADDR\"] under [[pool]]")]
    NoEip,
    /// A pool without EIPs.
    #[error("{at}: pool \"{pool}\" has no EIPs; add eips = [\"ADDR\"] or remove the pool")]
    EmptyPool {
        /// Where the pool is.
        at: Origin,
        /// Its name.
        pool: String,
    },
    /// Two pools with one name.
    #[error("{at}: there are two pools called \"{pool}\" (the other: {other}); rename one")]
    PoolTwice {
        /// The second.
        at: Origin,
        /// The name.
        pool: String,
        /// The first.
        other: Origin,
    },
    /// An interface that is not there.
    #[error("{at}: interface \"{name}\" does not exist; `ip link` lists those that do")]
    UnknownInterface {
        /// Where.
        at: Origin,
        /// Name as written.
        name: String,
    },
    /// An interface on which natgw cannot work, or not as asked for.
    #[error("{at}: natgw cannot use interface \"{name}\": {why}")]
    Unusable {
        /// Where.
        at: Origin,
        /// Name as written.
        name: String,
        /// Why, and what to do.
        why: Refusal,
    },
    /// A pattern of names that is none.
    #[error(
        "{at}: \"{pattern}\" is no pattern of interface names ({why}); `*` stands for any characters, `?` for one"
    )]
    BadPattern {
        /// Where.
        at: Origin,
        /// As written.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// A name that is on both sides because a pattern matches it.
    #[error(
        "{at}: \"{pattern}\" matches {name}, which is on the other side by \"{other}\" ({other_at}); write patterns that leave each \
         interface on one side"
    )]
    BothSides {
        /// Where the pattern is.
        at: Origin,
        /// The pattern.
        pattern: String,
        /// The interface.
        name: String,
        /// What else names it.
        other: String,
        /// Where.
        other_at: Origin,
    },
    /// More interfaces than the devmap holds.
    #[error("{0} interfaces are configured; natgw manages at most {MAX_INTERFACES}")]
    TooManyInterfaces(usize),
    /// A pool's link is none.
    #[error(
        "{at}: pool \"{pool}\" is to leave by \"{name}\", which is no outside interface (those are {outside}); name one of \
         them, write \"any\", or leave it out"
    )]
    PoolOutside {
        /// Where.
        at: Origin,
        /// The pool.
        pool: String,
        /// Name as written.
        name: String,
        /// The outside interfaces.
        outside: String,
    },
    /// A pool on more links than the packet path looks through.
    #[error(
        "{at}: the EIPs of pool \"{pool}\" belong to {count} outside interfaces; natgw takes at most {MAX_LINKS} in a pool: \
         make two of it"
    )]
    TooManyLinks {
        /// Where the pool is.
        at: Origin,
        /// Its name.
        pool: String,
        /// How many.
        count: usize,
    },
    /// An EIP in two pools, or twice in one.
    #[error("{at}: EIP {eip} is already in pool \"{pool}\" ({other}); an EIP belongs to one pool, once")]
    EipTwice {
        /// The second mention.
        at: Origin,
        /// The address.
        eip: Ipv4Addr,
        /// Pool of the first mention.
        pool: String,
        /// The first mention.
        other: Origin,
    },
    /// An address that no packet may come from.
    #[error("{at}: {eip} cannot be an EIP: it is loopback, link-local, multicast or reserved")]
    EipUnusable {
        /// Where.
        at: Origin,
        /// The address.
        eip: Ipv4Addr,
    },
    /// The first or last address of a network outside.
    #[error(
        "{at}: {eip} cannot be an EIP: it is the {what} address of {prefix} on {interface}, which nobody answers to; \
         leave it out"
    )]
    EipOfSubnet {
        /// Where.
        at: Origin,
        /// The address.
        eip: Ipv4Addr,
        /// Network or broadcast.
        what: &'static str,
        /// The network.
        prefix: Ipv4Net,
        /// Where it is connected.
        interface: String,
    },
    /// The address of a router next door.
    #[error(
        "{at}: {eip} cannot be an EIP: it is the next hop of a route (`ip route show table all`), so another host has \
         it; leave it out"
    )]
    EipIsNextHop {
        /// Where.
        at: Origin,
        /// The address.
        eip: Ipv4Addr,
    },
    /// An EIP that belongs to the inside.
    #[error(
        "{at}: EIP {eip} lies in the inside prefix {prefix} ({prefix_at}); an EIP must be outside every inside prefix"
    )]
    EipInside {
        /// Where the EIP is.
        at: Origin,
        /// The address.
        eip: Ipv4Addr,
        /// The prefix.
        prefix: Ipv4Net,
        /// Where the prefix is.
        prefix_at: Origin,
    },
    /// An interface whose address is an EIP twice.
    #[error("{at}: the address of {name} is an EIP already; name the interface in one pool, once")]
    FollowedTwice {
        /// The second mention.
        at: Origin,
        /// The interface.
        name: String,
    },
    /// More EIPs than the maps hold.
    #[error("{0} EIPs are configured; natgw serves at most {MAX_EIPS}")]
    TooManyEips(usize),
    /// Two pools serve the same inside addresses.
    #[error(
        "{at}: {prefix} of pool \"{pool}\" overlaps {other} of pool \"{other_pool}\" ({other_at}); give each inside host one pool"
    )]
    PoolsOverlap {
        /// The second prefix.
        at: Origin,
        /// The second prefix.
        prefix: Ipv4Net,
        /// Its pool.
        pool: String,
        /// The first prefix.
        other: Ipv4Net,
        /// Its pool.
        other_pool: String,
        /// Where it is.
        other_at: Origin,
    },
    /// A pool that does not say whom it serves, next to others.
    #[error(
        "{at}: pool \"{pool}\" has no sources; with several pools each needs its own: sources = [\"10.1.0.0/16\"]"
    )]
    NoSources {
        /// Where the pool is.
        at: Origin,
        /// Its name.
        pool: String,
    },
    /// Every default source contains an EIP or is an outside network.
    #[error(
        "{at}: pool \"{pool}\" has no sources and none can be guessed; give --source PREFIX or sources = [\"10.0.0.0/8\"]"
    )]
    NoDefaultSources {
        /// Where the pool is.
        at: Origin,
        /// Its name.
        pool: String,
    },
    /// More prefixes than the maps hold.
    #[error("{count} {what} prefixes are configured; natgw takes at most {MAX_PREFIXES}")]
    TooManyPrefixes {
        /// How many.
        count: usize,
        /// Of which kind.
        what: &'static str,
    },
    /// A shared EIP whose ports all belong to the host.
    #[error(
        "{at}: no port of {ports} is left on EIP {eip}, which is this host's own address: the host keeps {first}-{last} \
         (net.ipv4.ip_local_port_range); widen ports, or use an address that the host does not have"
    )]
    NoPorts {
        /// Where the range is.
        at: Origin,
        /// The EIP.
        eip: Ipv4Addr,
        /// The configured range.
        ports: Ports,
        /// First ephemeral port of the host.
        first: u16,
        /// Last one.
        last: u16,
    },
    /// Reserved ports of an address that is no EIP.
    #[error("{at}: {eip} is in no pool, so no port of it is ever claimed; name an EIP, or leave it out")]
    ReservedNoEip {
        /// Where.
        at: Origin,
        /// The address.
        eip: Ipv4Addr,
    },
    /// An EIP on which flows of a protocol would get no port.
    #[error(
        "{at}: every {proto} port that pool \"{pool}\" has on EIP {eip} is reserved ({ports} less what a shared EIP leaves \
         to the host); reserve fewer, or take the EIP out of the pool",
        proto = proto.name()
    )]
    ReservedAll {
        /// Where the reserved ports are.
        at: Origin,
        /// The EIP.
        eip: Ipv4Addr,
        /// Its pool.
        pool: String,
        /// The pool's range.
        ports: Ports,
        /// The protocol.
        proto: Proto,
    },
    /// More reserved ports than the map holds.
    #[error(
        "{at}: the reserved ports of all EIPs take {count} entries, and natgw has room for {MAX_RESERVED}; write ranges \
         that start and end at multiples of a power of two, or reserve fewer"
    )]
    TooManyReserved {
        /// The EIP with which they are too many.
        at: Origin,
        /// Entries needed so far.
        count: usize,
    },
    /// `answers_per_second` beyond reason.
    #[error("{at}: answers_per_second is {value}; write at most {MAX_ANSWERS}, or 0 for none")]
    TooManyAnswers {
        /// Where.
        at: Origin,
        /// As written.
        value: u64,
    },
    /// `max_flows = 0`.
    #[error(
        "{at}: max_flows is 0; a gateway without flows translates nothing: write at least 1, or leave it out"
    )]
    NoFlows {
        /// Where.
        at: Origin,
    },
    /// More flows than memory.
    #[error(
        "{at}: max_flows = {flows} needs {need} MiB of memory at 256 B a flow, and {have} MiB are available; write at most {fits}"
    )]
    NoMemory {
        /// Where.
        at: Origin,
        /// As written.
        flows: u64,
        /// MiB that they need.
        need: u64,
        /// MiB that there are.
        have: u64,
        /// Flows that would fit.
        fits: u64,
    },
}
