//! From a path to the module that defines what it names.

use super::tree::{ModuleId, ROOT, Reference, Tree};

/// What a path leads to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(ModuleId),
    /// Something that this module defines.
    Item(ModuleId),
    /// Nothing of this crate.
    Foreign,
}

/// Imports that name each other end after so many steps.
const MOST_STEPS: u32 = 32;

/// The module that defines what a reference names; `None` when that is another crate's, or a module as such.
pub(super) fn definer(tree: &Tree, reference: &Reference) -> Option<ModuleId> {
    match path(tree, reference.module, &reference.path, MOST_STEPS) {
        Target::Item(module) => Some(module),
        Target::Module(module) => reference.is_glob.then_some(module),
        Target::Foreign => None,
    }
}

fn path(tree: &Tree, from: ModuleId, segments: &[String], steps: u32) -> Target {
    let Some((first, mut rest)) = segments.split_first() else { return Target::Module(from) };
    let mut at = match first.as_str() {
        "crate" => Target::Module(ROOT),
        "self" => Target::Module(from),
        "super" => Target::Module(tree.modules[from].parent),
        name => name_in(tree, from, name, rest.is_empty(), steps).unwrap_or(Target::Foreign),
    };
    while let (Target::Module(module), Some((segment, others))) = (at, rest.split_first()) {
        at = if segment == "super" {
            Target::Module(tree.modules[module].parent)
        } else {
            // A name that nobody writes down is made by a macro, in the module that it is looked for.
            name_in(tree, module, segment, others.is_empty(), steps).unwrap_or(Target::Item(module))
        };
        rest = others;
    }
    at
}

/// What `name` means in `module`; `None`: nothing that can be seen. A module and a function may share a name: as the last word
/// of a path it is the function, before a `::` the module.
fn name_in(tree: &Tree, module: ModuleId, name: &str, is_last: bool, steps: u32) -> Option<Target> {
    let scope = &tree.modules[module];
    let steps = steps.checked_sub(1)?;
    let item = || scope.items.contains(name).then_some(Target::Item(module));
    let child = || scope.children.get(name).copied().map(Target::Module);
    let import = || {
        let meanings = scope.imports.get(name)?.iter().map(|import| {
            // `use name;` of what the module has itself, such as a macro.
            if import.len() == 1 && import[0] == name {
                Target::Foreign
            } else {
                path(tree, module, import, steps)
            }
        });
        let wanted = |target: &Target| matches!(target, Target::Item(_)) == is_last;
        let meanings: Vec<Target> = meanings.collect();
        meanings.iter().copied().find(wanted).or_else(|| meanings.first().copied())
    };
    let own =
        if is_last { item().or_else(import).or_else(child) } else { child().or_else(import).or_else(item) };
    own.or_else(|| {
        scope.globs.iter().find_map(|glob| match path(tree, module, glob, steps) {
            Target::Module(of) if of != module => name_in(tree, of, name, is_last, steps),
            _ => None,
        })
    })
}
