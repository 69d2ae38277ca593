//! The only intrinsics: read-modify-write on map values.
//!
//! `core::sync::atomic` has none on this target. Ordering is always `AcqRel` where a result is used: LLVM 22
//! compiles a Relaxed read-modify-write to the instruction that does not return the old value.

use core::intrinsics::{AtomicOrdering, atomic_and, atomic_cxchg, atomic_or, atomic_xadd};

/// ORs `bits` into `*word`; returns what was there before.
///
/// # Safety
/// `word` is a valid, 4-aligned pointer into a map value.
#[inline(always)]
pub unsafe fn fetch_or(word: *mut u32, bits: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { atomic_or::<u32, u32, { AtomicOrdering::AcqRel }>(word, bits) }
}

/// ANDs `bits` into `*word`; returns what was there before.
///
/// # Safety
/// As [`fetch_or`].
#[inline(always)]
pub unsafe fn fetch_and(word: *mut u32, bits: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { atomic_and::<u32, u32, { AtomicOrdering::AcqRel }>(word, bits) }
}

/// Adds to `*word`, wrapping; returns what was there before.
///
/// # Safety
/// As [`fetch_or`].
#[inline(always)]
pub unsafe fn fetch_add(word: *mut u32, more: u32) -> u32 {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(word, more) }
}

/// Replaces `old` by `new`; whether it did.
///
/// # Safety
/// `word` is a valid, 8-aligned pointer into a map value.
#[inline(always)]
pub unsafe fn compare_exchange_wide(word: *mut u64, old: u64, new: u64) -> bool {
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(word, old, new).1 }
}

/// Replaces `old` by `new`; whether it did.
///
/// # Safety
/// As [`fetch_or`].
#[inline(always)]
pub unsafe fn compare_exchange(word: *mut u32, old: u32, new: u32) -> bool {
    // SAFETY: the caller's promise.
    unsafe { atomic_cxchg::<u32, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(word, old, new).1 }
}

/// Keeps the compiler from moving memory accesses across this point.
///
/// x86 does not reorder loads with loads. No instruction is emitted.
#[inline(always)]
pub fn barrier() {
    // SAFETY: an empty template; the asm block's default memory clobber is the point.
    unsafe { core::arch::asm!("") }
}

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
