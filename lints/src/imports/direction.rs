//! Imports between top-level modules against the order that the house gives them.

use std::collections::BTreeSet;

use super::fault::{Edges, Fault, step};
use super::tree::Tree;

/// Imports from a top-level module of one that stands in a later line of `order`, and modules that stand in none.
pub(super) fn against(tree: &Tree, edges: &Edges, order: &[&str]) -> Vec<Fault> {
    let line = |room: &str| order.iter().position(|line| line.split(' ').any(|name| name == room));
    let rooms: BTreeSet<&str> = tree.modules.iter().map(|module| module.room.as_str()).collect();
    let mut faults: Vec<Fault> = rooms
        .into_iter()
        .filter(|room| !room.is_empty() && line(room).is_none())
        .map(|room| Fault::Unlisted { room: room.to_owned() })
        .collect();
    for (ends, edge) in edges {
        let (from, to) = (tree.room(ends.0), tree.room(ends.1));
        let why = match (line(from), line(to)) {
            _ if from == to || from.is_empty() => continue,
            _ if to.is_empty() => format!("{from} imports the crate's root, which comes last"),
            (Some(low), Some(high)) if high > low => format!("{from} imports {to}, which comes after it"),
            _ => continue,
        };
        faults.push(Fault::Against { step: step(tree, *ends, edge), why });
    }
    faults
}
