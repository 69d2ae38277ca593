//! Circles in the graph of imports.

use std::collections::{BTreeMap, VecDeque};

use petgraph::algo::tarjan_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use super::fault::{Edges, Fault, Step, step};
use super::tree::{FileId, Tree};

/// Circles between files.
pub(super) fn between_files(tree: &Tree, edges: &Edges) -> Vec<Fault> {
    let imports = edges.iter().map(|(ends, edge)| (*ends, step(tree, *ends, edge)));
    circles(&tree.files, imports)
}

/// Circles between top-level folders whose files form none by themselves.
pub(super) fn between_rooms(tree: &Tree, edges: &Edges) -> Vec<Fault> {
    let mut names: Vec<String> = tree.modules.iter().map(|module| module.room.clone()).collect();
    names.sort();
    names.dedup();
    let room = |file: FileId| names.binary_search(&tree.room(file).to_owned()).unwrap_or_default();
    let mut imports = BTreeMap::new();
    for (ends, edge) in edges {
        let rooms = (room(ends.0), room(ends.1));
        let is_root = names[rooms.0].is_empty() || names[rooms.1].is_empty();
        if rooms.0 != rooms.1 && !is_root {
            imports.entry(rooms).or_insert_with(|| step(tree, *ends, edge));
        }
    }
    circles(&names, imports.into_iter()).into_iter().filter(is_of_folders).collect()
}

/// Whether the steps do not lead from file to file: a circle of files has been told already.
fn is_of_folders(fault: &Fault) -> bool {
    let Fault::Circle { steps, .. } = fault else { return false };
    steps.iter().zip(steps.iter().cycle().skip(1)).any(|(step, next)| step.to != next.from)
}

/// Nodes that reach each other, each such set as one circle, shown by the shortest way around.
fn circles(names: &[String], imports: impl Iterator<Item = ((usize, usize), Step)>) -> Vec<Fault> {
    let mut graph = DiGraph::<usize, Step>::new();
    let nodes: Vec<NodeIndex> = (0..names.len()).map(|node| graph.add_node(node)).collect();
    for ((from, to), step) in imports {
        graph.add_edge(nodes[from], nodes[to], step);
    }
    let mut faults = Vec::new();
    for component in tarjan_scc(&graph) {
        let shortest = component.iter().filter_map(|start| around(&graph, *start)).min_by_key(Vec::len);
        if let Some(steps) = shortest {
            let mut members: Vec<String> = component.iter().map(|node| names[graph[*node]].clone()).collect();
            members.sort();
            faults.push(Fault::Circle { members, steps });
        }
    }
    faults
}

/// The shortest way from a node back to it; `None`: there is none.
fn around(graph: &DiGraph<usize, Step>, start: NodeIndex) -> Option<Vec<Step>> {
    let mut came_by = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in graph.neighbors(node) {
            if came_by.contains_key(&next) {
                continue;
            }
            came_by.insert(next, node);
            if next == start {
                return Some(back(graph, &came_by, start));
            }
            queue.push_back(next);
        }
    }
    None
}

fn back(
    graph: &DiGraph<usize, Step>,
    came_by: &BTreeMap<NodeIndex, NodeIndex>,
    start: NodeIndex,
) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut node = start;
    while let Some(before) = came_by.get(&node).copied() {
        if let Some(edge) = graph.find_edge(before, node) {
            steps.push(graph[edge].clone());
        }
        node = before;
        if node == start {
            break;
        }
    }
    steps.reverse();
    steps
}
