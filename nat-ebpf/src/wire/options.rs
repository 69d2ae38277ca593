//! IPv4 options: whether one of them is a source route (RFC 791 section 3.1). A packet with one would go where its sender
//! says instead of where the routes lead; it is dropped as RFC 7126 sections 4.3 and 4.4 advise.

use super::{IPV4_MIN, load};
use crate::{
    frame::{View, checked_alone},
    work::Work,
};

/// Options that an IPv4 header has at most: it has 40 bytes for them, and the shortest is one byte.
const MOST_OPTIONS: u32 = 40;

const END: u8 = 0;
const NOTHING: u8 = 1;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;

/// Whether the options of the network header behind the link-layer header, which end at offset `end`, hold a source route, or
/// cannot be read to their end.
#[inline(always)]
pub fn has_source_route<V: View>(frame: V, work: &mut Work, end: u32) -> bool {
    work.option.set((V::LINK + IPV4_MIN) as u32);
    walk(frame, work, end)
}

checked_alone! {
    /// Whether the options from offset `work.option` to `end` hold a source route, or cannot be read to their end.
    pub fn walk<V: View>(frame, work, end: u32) -> bool = walk_on; Xdp as options_xdp, Skb as options_skb, Ip as options_ip
}

#[inline(always)]
fn walk_on<V: View>(frame: V, work: &mut Work, end: u32) -> bool {
    let position = &mut work.option;
    for _ in 0..MOST_OPTIONS {
        if position.get() >= end {
            return false;
        }
        let option = frame.start() + (position.get() & 0x7f) as usize;
        if option + 2 > frame.end() {
            return true;
        }
        // SAFETY: two bytes from `option` are in bounds.
        let (kind, length) =
            unsafe { (load::<u8>(option as *const u8, 0), load::<u8>(option as *const u8, 1)) };
        if kind == END {
            return false;
        }
        if kind == LOOSE_ROUTE || kind == STRICT_ROUTE || (kind != NOTHING && length < 2) {
            return true;
        }
        position.set(position.get() + if kind == NOTHING { 1 } else { u32::from(length) });
    }
    false
}
