//! How the model checker is asked, and what all scenarios share.

use std::time::Duration;

use loom::model::Builder;
use loom::sync::Arc;
use loom::thread::JoinHandle;
use nat_common::table::find;
use nat_common::table::insert::{self, Inserted};
use nat_common::table::memory::Table as _;

use crate::memory::{Cpu, Cursor, Model, Rules, Value, key};

/// How much of a scenario is explored.
#[derive(Clone, Copy)]
pub enum Depth {
    /// Every order.
    All,
    /// Every order in which at most so many times a thread is stopped in favour of another that could also have waited.
    Preemptions(usize),
}

/// How long one scenario is explored. Only deep scenarios take so long; of those not every order is tried, and the number that
/// was is printed.
const LONGEST: Duration = Duration::from_mins(2);

/// Runs the scenario in every order of that depth, or for [`LONGEST`].
pub fn explore(depth: Depth, scenario: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.max_branches = 20_000;
    builder.max_duration = Some(LONGEST);
    builder.preemption_bound = match depth {
        Depth::All => None,
        Depth::Preemptions(most) => Some(most),
    };
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = runs.clone();
    builder.check(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        scenario();
    });
    println!("{} orders explored", runs.load(std::sync::atomic::Ordering::Relaxed));
}

/// A table, and the CPUs that work on it: the test's own thread is number 0.
pub struct World {
    model: Arc<Model>,
    started: usize,
}

impl World {
    pub fn new(homes: u32, capacity: u32, cpus: usize, rules: Rules) -> Self {
        Self { model: Arc::new(Model::new(homes, capacity, cpus, rules)), started: 0 }
    }

    /// A table of one home with the keys 1 to `entries`.
    pub fn filled(entries: u64, cpus: usize, rules: Rules) -> Self {
        let world = Self::new(1, 8, cpus, rules);
        for n in 1..=entries {
            assert_eq!(insert(world.own(), n, n), Inserted::Done);
        }
        world
    }

    /// The test's own CPU.
    pub fn own(&self) -> Cpu<'_> {
        Cpu { model: &self.model, number: 0 }
    }

    /// Lets the next CPU work on the table.
    pub fn start<T: 'static>(&mut self, work: impl FnOnce(Cpu<'_>) -> T + 'static) -> JoinHandle<T> {
        self.started += 1;
        let (model, number) = (self.model.clone(), self.started);
        loom::thread::spawn(move || work(Cpu { model: &model, number }))
    }
}

/// Inserts the `n`-th key, once, and counts one entry.
pub fn insert(cpu: Cpu<'_>, n: u64, id: u64) -> Inserted {
    insert::insert(cpu, key(n), &Value::new(id), 1)
}

/// Inserts it, again while other CPUs disturb it.
pub fn insert_patiently(cpu: Cpu<'_>, n: u64, id: u64) -> Inserted {
    for _ in 0..4 {
        match insert(cpu, n, id) {
            Inserted::Disturbed => {}
            result => return result,
        }
    }
    Inserted::Disturbed
}

/// Finds the entry of the `n`-th key.
pub fn find(cpu: Cpu<'_>, n: u64) -> Option<Cursor<'_>> {
    find::find_from(cpu, key(n), cpu.home(key(n)))
}

/// What a packet of the `n`-th key is translated with.
pub fn translate(cpu: Cpu<'_>, n: u64) -> Option<[u64; 2]> {
    let entry = find(cpu, n)?;
    let value = entry.value();
    entry.is_still(key(n)).then_some(value)
}

/// Fails unless the table has these keys and no others.
pub fn assert_has(cpu: Cpu<'_>, keys: &[u64]) {
    for n in keys {
        assert_eq!(translate(cpu, *n), Some([*n, *n]), "key {n} is lost");
    }
    let mut live = cpu.live();
    live.sort_unstable();
    assert_eq!(live, keys);
    assert_eq!(cpu.taken() as usize, keys.len());
}
