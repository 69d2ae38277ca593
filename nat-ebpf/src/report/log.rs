//! Diagnostics of the slow path, at debug level. When the level that the program is loaded with is lower, the
//! verifier prunes every call.

use aya_ebpf::EbpfContext;
use aya_log_ebpf::debug;
use nat_common::Tuple;

use crate::frame::View;

/// A frame as aya's log macros want it.
struct Context(*mut core::ffi::c_void);

impl EbpfContext for Context {
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0
    }
}

/// A packet was refused.
#[inline(never)]
pub fn refused<V: View>(frame: V, packet: &Tuple, reason: u32) {
    let Tuple { src, dst, sport, dport, proto, .. } = *packet;
    debug!(
        Context(frame.context()),
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
pub fn born<V: View>(frame: V, packet: &Tuple, reverse: &Tuple) {
    let Tuple { src, dst, sport, dport, proto, .. } = *packet;
    debug!(
        Context(frame.context()),
        "born: proto {} {:i}:{} -> {:i}:{} by port {}",
        proto,
        src.host(),
        sport.host(),
        dst.host(),
        dport.host(),
        reverse.dport.host()
    );
}
