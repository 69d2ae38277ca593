//! A crate as the check sees it: modules, what each defines and imports, and every name that its code uses.

use std::collections::{BTreeMap, BTreeSet};

/// Index into [`Tree::modules`].
pub(super) type ModuleId = usize;
/// Index into [`Tree::files`].
pub(super) type FileId = usize;

/// The root module has this number.
pub(super) const ROOT: ModuleId = 0;

/// All modules of a crate.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) modules: Vec<Module>,
    /// Paths as a person is shown them.
    pub(super) files: Vec<String>,
    pub(super) references: Vec<Reference>,
}

/// A module: a file of its own, or inline in its parent's.
#[derive(Default)]
pub(super) struct Module {
    /// The file that it stands in.
    pub(super) file: FileId,
    /// The root is its own parent.
    pub(super) parent: ModuleId,
    /// The top-level module that it is in; empty for the root.
    pub(super) room: String,
    pub(super) children: BTreeMap<String, ModuleId>,
    /// Names that it defines, but for modules.
    pub(super) items: BTreeSet<String>,
    /// Names that `use` brings into it, and the paths that they stand for. Two for a name of several namespaces.
    pub(super) imports: BTreeMap<String, Vec<Vec<String>>>,
    /// Paths whose whole content `use` brings into it.
    pub(super) globs: Vec<Vec<String>>,
}

/// Somewhere something is named.
pub(super) struct Reference {
    /// By whom.
    pub(super) module: ModuleId,
    /// On which line.
    pub(super) line: usize,
    /// What, as it is written.
    pub(super) path: Vec<String>,
    /// Whether it is `path::*`.
    pub(super) is_glob: bool,
}

impl Tree {
    /// The top-level module that a file belongs to; empty for the root's.
    pub(super) fn room(&self, file: FileId) -> &str {
        self.modules.iter().find(|module| module.file == file).map_or("", |module| &module.room)
    }
}
