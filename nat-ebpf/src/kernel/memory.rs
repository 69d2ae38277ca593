//! Memory of maps that several CPUs read and write at once: [`Shared`] is the only way to it, and there is never a `&mut`.
//!
//! Every access is volatile, so that the compiler makes each where it is written, once, and in this order. The CPU keeps
//! the order too on x86-64, but for a load that overtakes an earlier store; `docs/ARCHITECTURE.md`, "Memory order", says what
//! that is enough for, and what arm64 needs. Read-modify-writes are full barriers on both.

use core::{
    intrinsics::{AtomicOrdering, atomic_and, atomic_cxchg, atomic_or, atomic_xadd},
    ptr::NonNull,
};

/// A value in a map.
///
/// Never null, so that an `Option` is one register: of two, LLVM leaves one undefined, and the verifier minds.
pub struct Shared<T>(NonNull<T>);

impl<T> Clone for Shared<T> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Shared<T> {}

impl<T: Copy> Shared<T> {
    /// What a lookup found; `None` for nothing.
    ///
    /// # Safety
    /// The pointer is null or a valid, aligned value of a map, which lives as long as the program's run.
    #[inline(always)]
    pub unsafe fn new(pointer: *mut T) -> Option<Self> {
        NonNull::new(pointer).map(Self)
    }

    /// A field of a value; see [`part!`].
    ///
    /// # Safety
    /// The pointer is a valid, aligned field of a value that lives as long as the program's run.
    #[inline(always)]
    pub const unsafe fn field(pointer: *mut T) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { NonNull::new_unchecked(pointer) })
    }

    /// Its address.
    #[inline(always)]
    pub const fn as_ptr(self) -> *mut T {
        self.0.as_ptr()
    }

    /// Reads it. What is longer than a register is read in pieces, between which other CPUs may write.
    #[inline(always)]
    pub fn get(self) -> T {
        // SAFETY: valid and aligned, see `new`.
        unsafe { self.0.as_ptr().read_volatile() }
    }

    /// Writes it, with the same caveat.
    #[inline(always)]
    pub fn set(self, value: T) {
        // SAFETY: valid and aligned, see `new`.
        unsafe { self.0.as_ptr().write_volatile(value) }
    }

    /// A value of one word as a number, for atomic operations.
    #[inline(always)]
    pub const fn word(self) -> Shared<u32> {
        const { assert!(size_of::<T>() == 4 && align_of::<T>() == 4) };
        Shared(self.0.cast())
    }
}

// AcqRel wherever the result is used, and it always is: LLVM 22 compiles a Relaxed read-modify-write to the instruction that
// does not return the old value.

impl Shared<u32> {
    /// ORs `bits` into it; what was there before.
    #[inline(always)]
    pub fn fetch_or(self, bits: u32) -> u32 {
        // SAFETY: valid and aligned, see `new`.
        unsafe { atomic_or::<u32, u32, { AtomicOrdering::AcqRel }>(self.0.as_ptr(), bits) }
    }

    /// ANDs `bits` into it; what was there before.
    #[inline(always)]
    pub fn fetch_and(self, bits: u32) -> u32 {
        // SAFETY: valid and aligned, see `new`.
        unsafe { atomic_and::<u32, u32, { AtomicOrdering::AcqRel }>(self.0.as_ptr(), bits) }
    }

    /// Adds to it, wrapping; what was there before.
    #[inline(always)]
    pub fn fetch_add(self, more: u32) -> u32 {
        // SAFETY: valid and aligned, see `new`.
        unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(self.0.as_ptr(), more) }
    }

    /// Replaces `old` by `new`; whether it did.
    #[inline(always)]
    pub fn replace(self, old: u32, new: u32) -> bool {
        // SAFETY: valid and aligned, see `new`.
        unsafe {
            atomic_cxchg::<u32, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(
                self.0.as_ptr(),
                old,
                new,
            )
            .1
        }
    }
}

impl Shared<u64> {
    /// Replaces `old` by `new`; whether it did.
    #[inline(always)]
    pub fn replace(self, old: u64, new: u64) -> bool {
        // SAFETY: valid and aligned, see `new`.
        unsafe {
            atomic_cxchg::<u64, { AtomicOrdering::AcqRel }, { AtomicOrdering::Acquire }>(
                self.0.as_ptr(),
                old,
                new,
            )
            .1
        }
    }
}

/// A field of a [`Shared`] struct, itself [`Shared`].
macro_rules! part {
    ($shared:expr, $($name:ident).+) => {{
        let base = $crate::kernel::memory::Shared::as_ptr($shared);
        // SAFETY: the address of a field of a value that is valid and aligned, see `Shared::new`.
        unsafe { $crate::kernel::memory::Shared::field(&raw mut (*base).$($name).+) }
    }};
}
pub(crate) use part;

/// Keeps the compiler from moving any access to memory across this point. No instruction is emitted.
#[inline(always)]
pub fn barrier() {
    // SAFETY: an empty template; the asm block's default memory clobber is the point.
    unsafe { core::arch::asm!("") }
}
