//! Diagnostics of the slow path, at debug level. When the level that the program is loaded with is lower, the
//! verifier prunes every call.

use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use nat_common::Tuple;

use crate::wire::packet::Packet;

/// A packet was refused.
#[inline(never)]
pub fn refused(ctx: &XdpContext, packet: &Packet, reason: u32) {
    let Tuple { src, dst, sport, dport, proto, .. } = packet.tuple;
    debug!(
        ctx,
        "refused: reason {} proto {} {:i}:{} -> {:i}:{}",
        reason,
        proto,
        src.host(),
        sport.host(),
        dst.host(),
        dport.host()
    );
}

/// A flow was born.
#[inline(never)]
pub fn born(ctx: &XdpContext, packet: &Packet, reverse: &Tuple) {
    let Tuple { src, dst, sport, dport, proto, .. } = packet.tuple;
    debug!(
        ctx,
        "born: proto {} {:i}:{} -> {:i}:{} by port {}",
        proto,
        src.host(),
        sport.host(),
        dst.host(),
        dport.host(),
        reverse.dport.host()
    );
}
