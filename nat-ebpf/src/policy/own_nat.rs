//! The host's own connections where an EIP is also its address: those of its sockets, and those that its kernel translates for
//! others (containers, virtual machines).

use nat_common::Tuple;

use crate::{
    frame::{Kind, View},
    kernel::conntrack,
    maps,
};

/// Whether the host tracks the TCP or UDP connection that a packet from outside with this tuple belongs to.
#[inline(always)]
pub fn is_hosts<V: View>(frame: V, tuple: &Tuple) -> bool {
    if !maps::asks_conntrack() {
        return false;
    }
    match V::KIND {
        Kind::Xdp => conntrack::xdp_knows(frame.context(), tuple),
        Kind::Skb | Kind::Ip => conntrack::skb_knows(frame.context(), tuple),
    }
}
