//! What LLVM is kept from knowing about a value in a register, for the verifier's sake.

/// A pointer that was compared with null. What is done to it from here on stays here: LLVM would add an offset before the
/// comparison where it can, and Linux 6.1 refuses arithmetic on what may be null.
#[expect(clippy::pointers_in_nomem_asm_block, reason = "nothing is read or written")]
#[inline(always)]
pub fn not_null<T>(mut pointer: *mut T) -> *mut T {
    // SAFETY: an empty template; that it names a register is the point.
    unsafe { core::arch::asm!("", inout("r1") pointer, options(nomem, nostack, preserves_flags)) };
    pointer
}

/// A number of which LLVM forgets what it knows, so that bounds which it could prove are checked where the verifier sees it.
#[inline(always)]
pub fn in_register(mut number: u64) -> u64 {
    // SAFETY: an empty template; that it names a register is the point.
    unsafe { core::arch::asm!("", inout("r1") number, options(nomem, nostack, preserves_flags)) };
    number
}
