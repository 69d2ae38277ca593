//! A word that several CPUs read and write, as `loom` has it, and so that `loom` tries every order of the accesses to it.
//!
//! `loom` 0.7 remembers one access of each atomic, the last, and tries the other order of that one and the next. Where one
//! CPU loads a word, another loads it too and then stores to it, the last access before the store is the other CPU's own load:
//! that the first CPU's load might come after the store is never tried. So every load of one CPU, and every store of all others,
//! also does something to an atomic that is there for this CPU and this word: a relaxed read-modify-write of nothing, which
//! reads no stale value and orders nothing else.

use loom::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use Ordering::Relaxed;

/// Who may load the word, each with the loads that a store may come before or after.
struct Loads(Vec<AtomicU8>);

impl Loads {
    fn new(cpus: usize) -> Self {
        Self((0..cpus).map(|_| AtomicU8::new(0)).collect())
    }

    fn load(&self, cpu: usize) {
        self.0[cpu].fetch_or(0, Relaxed);
    }

    fn store(&self, cpu: usize) {
        for (other, loads) in self.0.iter().enumerate() {
            if other != cpu {
                loads.fetch_or(0, Relaxed);
            }
        }
    }
}

macro_rules! word {
    ($name:ident, $atomic:ident, $number:ty) => {
        /// A word of this size.
        pub struct $name {
            cell: $atomic,
            loads: Loads,
        }

        impl $name {
            pub fn new(value: $number, cpus: usize) -> Self {
                Self { cell: $atomic::new(value), loads: Loads::new(cpus) }
            }

            pub fn load(&self, cpu: usize, ordering: Ordering) -> $number {
                self.loads.load(cpu);
                self.cell.load(ordering)
            }

            pub fn store(&self, cpu: usize, value: $number, ordering: Ordering) {
                self.loads.store(cpu);
                self.cell.store(value, ordering);
            }

            /// Replaces `old` by `new`; whether it did. A failure is relaxed.
            pub fn replace(&self, cpu: usize, old: $number, new: $number, ordering: Ordering) -> bool {
                self.loads.store(cpu);
                self.cell.compare_exchange(old, new, ordering, Relaxed).is_ok()
            }
        }
    };
}

word!(Word32, AtomicU32, u32);
word!(Word64, AtomicU64, u64);

impl Word32 {
    /// Replaces the bits of `mask`.
    pub fn replace_bits(&self, cpu: usize, mask: u32, bits: u32) {
        self.loads.store(cpu);
        let _ = self.cell.fetch_update(Relaxed, Relaxed, |word| Some(word & !mask | bits));
    }

    pub fn subtract(&self, cpu: usize, less: u32) {
        self.loads.store(cpu);
        self.cell.fetch_sub(less, Relaxed);
    }

    /// Adds, with acquire and release; what was there before.
    pub fn add(&self, cpu: usize, more: u32) -> u32 {
        self.loads.store(cpu);
        self.cell.fetch_add(more, Ordering::AcqRel)
    }
}
