//! The graph of imports between the modules of a crate: which circles it has, and which imports go against the order.
//!
//! A node is a source file. An edge leads from the file that names something to the file that defines it: `use`, paths in
//! code, and paths in the arguments of macros all name things. A name that is re-exported counts as its definer's. Naming a
//! module, to reach something in it, is no edge: what is reached is.
//!
//! Not seen: methods called on a value whose type nobody names, and code under `#[cfg(test)]`, on purpose. Tests use what they
//! test from wherever they stand.

mod circles;
mod direction;
mod fault;
mod read;
mod resolve;
mod tree;

#[cfg(test)]
mod tests;

use std::path::Path;

use anyhow::Result;

pub use fault::Fault;
use fault::{Edge, Edges};
use tree::Tree;

/// Reads the crate whose root file is `source` and checks it against `order`. Files are shown relative to `shown_from`.
pub fn check(source: &Path, shown_from: &Path, order: &[&str]) -> Result<Vec<Fault>> {
    let tree = read::crate_at(source, shown_from)?;
    let edges = edges(&tree);
    let mut faults = circles::between_files(&tree, &edges);
    if order.is_empty() {
        faults.extend(circles::between_rooms(&tree, &edges));
    } else {
        faults.extend(direction::against(&tree, &edges, order));
    }
    Ok(faults)
}

fn edges(tree: &Tree) -> Edges {
    let mut edges = Edges::new();
    for reference in &tree.references {
        let Some(definer) = resolve::definer(tree, reference) else { continue };
        let ends = (tree.modules[reference.module].file, tree.modules[definer].file);
        if ends.0 != ends.1 {
            let edge = Edge { line: reference.line, path: reference.path.join("::") };
            edges.entry(ends).or_insert(edge);
        }
    }
    edges
}
