//! The only intrinsics: read-modify-write on map values.
//!
//! `core::sync::atomic` has none on this target. Ordering is always `AcqRel` where a result is used: LLVM 22
//! compiles a Relaxed read-modify-write to the instruction that does not return the old value.

use core::intrinsics::{AtomicOrdering, atomic_and, atomic_cxchg, atomic_or};

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
