//! What the check finds: edges between files, and those that break a rule.

use std::collections::BTreeMap;
use std::fmt;

use super::tree::{FileId, Tree};

/// What breaks a rule. Displayed as a person needs it who is to mend it.
#[derive(Debug, PartialEq, Eq)]
pub enum Fault {
    /// Modules that import each other.
    Circle {
        /// How many nodes can reach each other; the steps may show fewer, the shortest way around.
        members: Vec<String>,
        /// The imports, each leading to the next one's file and the last to the first's.
        steps: Vec<Step>,
    },
    /// A top-level module that the order does not have.
    Unlisted {
        /// Its name.
        room: String,
    },
    /// An import against the order.
    Against {
        /// The import.
        step: Step,
        /// Why it may not be.
        why: String,
    },
}

/// An import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// File that imports.
    pub from: String,
    /// Line of the import.
    pub line: usize,
    /// File that is imported.
    pub to: String,
    /// What is named.
    pub path: String,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} -> {}  ({})", self.from, self.line, self.to, self.path)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Circle { members, steps } => {
                write!(f, "  circle of {}: {}", members.len(), members.join(", "))?;
                steps.iter().try_for_each(|step| write!(f, "\n    {step}"))
            }
            Self::Unlisted { room } => {
                write!(
                    f,
                    "  {room} has no line in the order of the house: give it one, in lints/src/house.rs"
                )
            }
            Self::Against { step, why } => write!(f, "  {why}\n    {step}"),
        }
    }
}

/// An edge between files: where it was first seen, and what it names.
#[derive(Clone, Debug)]
pub(super) struct Edge {
    pub(super) line: usize,
    pub(super) path: String,
}

/// Edges by their two ends.
pub(super) type Edges = BTreeMap<(FileId, FileId), Edge>;

/// An edge as a person needs it.
pub(super) fn step(tree: &Tree, (from, to): (FileId, FileId), edge: &Edge) -> Step {
    let (from, to) = (tree.files[from].clone(), tree.files[to].clone());
    Step { from, line: edge.line, to, path: edge.path.clone() }
}
