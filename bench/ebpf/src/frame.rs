//! How header fields are read and written, and the checksums of headers.

/// Reads a field.
///
/// # Safety
/// `frame + offset` is the start of a `T` within the frame. It need not be aligned: the verifier asks for no alignment
/// in packets on the machines that run this.
#[inline(always)]
pub(crate) unsafe fn load<T: Copy>(frame: *const u8, offset: usize) -> T {
    // SAFETY: the caller's promise.
    unsafe { frame.add(offset).cast::<T>().read() }
}

/// Writes a field.
///
/// # Safety
/// As [`load`].
#[inline(always)]
pub(crate) unsafe fn store<T>(frame: *mut u8, offset: usize, value: T) {
    // SAFETY: the caller's promise.
    unsafe { frame.add(offset).cast::<T>().write(value) }
}

/// The two 16-bit words of `word`, added up.
#[inline(always)]
pub(crate) fn halves(word: u32) -> u32 {
    (word >> 16) + (word & 0xffff)
}

/// The Internet checksum of words that add up to `sum` (RFC 1071: any byte order will do, as long as it is one).
#[inline(always)]
pub(crate) fn fold(sum: u32) -> u16 {
    !halves(halves(sum)) as u16
}

/// A UDP checksum as it is sent: zero would mean "none" (RFC 768).
#[inline(always)]
pub(crate) fn sent(checksum: u16) -> u16 {
    if checksum == 0 { !0 } else { checksum }
}
