//! IPv4 options: whether one of them is a source route (RFC 791 section 3.1). XDP programs and tc guards read packets
//! differently, so the walk is given the way to read two bytes.

use crate::work;

/// Bytes of options that an IPv4 header has at most, hence options.
const MOST_OPTIONS: u32 = 40;

const END: u8 = 0;
const NOTHING: u8 = 1;
const LOOSE_ROUTE: u8 = 131;
const STRICT_ROUTE: u8 = 137;

/// Whether the options from offset `at` to `end` hold a source route, or cannot be read to their end. `read`: the kind at an
/// offset and the byte after it, the length of all but two kinds.
///
/// The position is kept in the scratch space: on the stack, every length that an option may have would be another state to
/// the verifier, in every turn.
#[inline(always)]
pub fn has_source_route(at: u32, end: u32, read: impl Fn(u32) -> Option<(u8, u8)>) -> bool {
    let Some(position) = work::option() else { return true };
    let position: *mut u32 = position;
    // SAFETY: a valid element that only this CPU uses; volatile, so that it is read anew in every turn.
    let (now, set) = (|| unsafe { position.read_volatile() }, |at| unsafe { position.write_volatile(at) });
    set(at);
    for _ in 0..MOST_OPTIONS {
        if now() >= end {
            return false;
        }
        let Some((kind, length)) = read(now()) else { return true };
        if kind == END {
            return false;
        }
        if kind == LOOSE_ROUTE || kind == STRICT_ROUTE || (kind != NOTHING && length < 2) {
            return true;
        }
        set(now() + if kind == NOTHING { 1 } else { u32::from(length) });
    }
    false
}
