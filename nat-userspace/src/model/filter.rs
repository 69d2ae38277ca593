//! Which flows are meant, and in which order they are wanted.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nat_common::Proto;
use nat_common::tcp::State;

/// Which flows. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Prefix of the inside host.
    pub src: Option<Ipv4Net>,
    /// Prefix of the remote host.
    pub dst: Option<Ipv4Net>,
    /// Protocol.
    pub proto: Option<Proto>,
    /// Elastic IP.
    pub eip: Option<Ipv4Addr>,
    /// Port (ICMP: identifier) of the inside host.
    pub sport: Option<u16>,
    /// Port of the remote host.
    pub dport: Option<u16>,
    /// State.
    pub state: Option<State>,
}

impl Filter {
    /// Whether nothing was asked for, so that every flow matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Orders of flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Oldest first.
    Age,
    /// Longest silent first.
    Idle,
    /// Most packets first, both directions.
    Packets,
    /// Most bytes first, both directions.
    Bytes,
}
