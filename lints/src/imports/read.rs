//! Reads the source files of a crate into a [`Tree`].

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree};

use super::tree::{Module, ModuleId, ROOT, Reference, Tree};

/// Reads the crate whose root file is `source`.
pub(super) fn crate_at(source: &Path, shown_from: &Path) -> Result<Tree> {
    let mut reader = Reader { tree: Tree::default(), shown_from, at: ROOT, wanted: Vec::new() };
    reader.tree.modules.push(Module::default());
    let dir = source.parent().unwrap_or(Path::new("")).to_owned();
    reader.file(ROOT, source, &dir)?;
    Ok(reader.tree)
}

struct Reader<'a> {
    tree: Tree,
    shown_from: &'a Path,
    /// The module that is being read.
    at: ModuleId,
    /// Modules that stand in files of their own, which are still to be read: name, `#[path]`, and the names of the inline
    /// modules around the declaration.
    wanted: Vec<(ModuleId, String, Option<String>)>,
}

impl Reader<'_> {
    /// Reads a module's file, whose children's files are in `dir`.
    fn file(&mut self, module: ModuleId, path: &Path, dir: &Path) -> Result<()> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = syn::parse_file(&text).with_context(|| format!("cannot parse {}", path.display()))?;
        let shown = path.strip_prefix(self.shown_from).unwrap_or(path).display().to_string();
        self.tree.files.push(shown);
        self.tree.modules[module].file = self.tree.files.len() - 1;
        self.at = module;
        self.content(&file.items);
        for (child, name, attribute) in std::mem::take(&mut self.wanted) {
            // An inline module adds its name to the directory.
            let mut inline = Vec::new();
            let mut parent = self.tree.modules[child].parent;
            while parent != module {
                let above = self.tree.modules[parent].parent;
                let name = self.tree.modules[above].children.iter().find(|(_, id)| **id == parent);
                inline.extend(name.map(|(name, _)| name.clone()));
                parent = above;
            }
            let dir = inline.iter().rev().fold(dir.to_owned(), |dir, name| dir.join(name));
            let (path, dir) = match attribute {
                Some(given) => {
                    let path = path.parent().unwrap_or(Path::new("")).join(given);
                    let dir = path.with_extension("");
                    (path, dir)
                }
                None => module_file(&dir, &name)?,
            };
            self.file(child, &path, &dir)?;
        }
        Ok(())
    }

    /// Reads the content of a module. What it defines comes first: code may use what stands below it.
    fn content(&mut self, items: &[Item]) {
        for item in items {
            self.define(item);
        }
        for item in items {
            self.visit_item(item);
        }
    }

    /// Notes what an item defines in the module that is being read.
    fn define(&mut self, item: &Item) {
        let name = match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::TraitAlias(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            Item::Macro(item) => match &item.ident {
                Some(name) => name,
                None => return,
            },
            _ => return,
        };
        self.tree.modules[self.at].items.insert(name.to_string());
    }

    fn name(&mut self, path: Vec<String>, span: Span, is_glob: bool) {
        self.tree.references.push(Reference { module: self.at, line: span.start().line, path, is_glob });
    }

    /// Takes a `use` apart into the paths that it stands for.
    fn import(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| {
            let own = (name != "self" || before.is_empty()).then(|| name.to_string());
            before.iter().cloned().chain(own).collect::<Vec<_>>()
        };
        match tree {
            UseTree::Path(path) => self.import(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.import(before, item)),
            UseTree::Glob(glob) => {
                self.tree.modules[self.at].globs.push(before.to_vec());
                self.name(before.to_vec(), glob.star_token.spans[0], true);
            }
            UseTree::Name(name) => {
                let path = with(&name.ident);
                self.bring_in(path.last().cloned(), path, name.ident.span());
            }
            UseTree::Rename(rename) => {
                let name = Some(rename.rename.to_string()).filter(|name| name != "_");
                self.bring_in(name, with(&rename.ident), rename.ident.span());
            }
        }
    }

    fn bring_in(&mut self, name: Option<String>, path: Vec<String>, span: Span) {
        if let Some(name) = name {
            self.tree.modules[self.at].imports.entry(name).or_default().push(path.clone());
        }
        self.name(path, span, false);
    }

    /// Finds paths in the arguments of a macro, which are no syntax yet.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut start = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(word) => {
                    if colons != 2 {
                        self.path_in_tokens(&mut path, start);
                        start = word.span();
                    }
                    path.push(word.to_string());
                    colons = 0;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() => {
                    colons += 1;
                    // A single colon ends a path: `name: Type`.
                    if colons == 1 && mark.spacing() == Spacing::Alone {
                        self.path_in_tokens(&mut path, start);
                    }
                }
                other => {
                    self.path_in_tokens(&mut path, start);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.tokens(group.stream());
                    }
                }
            }
        }
        self.path_in_tokens(&mut path, start);
    }

    fn path_in_tokens(&mut self, path: &mut Vec<String>, span: Span) {
        if path.len() > 1 {
            self.name(std::mem::take(path), span, false);
        }
        path.clear();
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, module: &'ast ItemMod) {
        let name = module.ident.to_string();
        let (parent, id) = (self.at, self.tree.modules.len());
        let around = &self.tree.modules[parent];
        let room = if parent == ROOT { name.clone() } else { around.room.clone() };
        let child = Module { file: around.file, parent, room, ..Module::default() };
        self.tree.modules.push(child);
        self.tree.modules[parent].children.insert(name.clone(), id);
        let Some((_, items)) = &module.content else {
            self.wanted.push((id, name, path_attribute(&module.attrs)));
            return;
        };
        self.at = id;
        self.content(items);
        self.at = parent;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        // `use ::name` is another crate's.
        if item.leading_colon.is_none() {
            self.import(&[], &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        // What a single word means has come by a `use`, or is local.
        if let (None, true, Some(first)) = (&path.leading_colon, segments.len() > 1, path.segments.first()) {
            self.name(segments, first.ident.span(), false);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.tokens(call.tokens.clone());
    }

    // `pub(in crate::x)` imports nothing, nor do attributes.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
    fn visit_attribute(&mut self, _: &'ast Attribute) {}
}

/// The file of module `name` that is declared where children's files are in `dir`, and the directory of its own children.
fn module_file(dir: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
    let below = dir.join(name);
    for path in [dir.join(format!("{name}.rs")), below.join("mod.rs")] {
        if path.is_file() {
            return Ok((path, below));
        }
    }
    bail!("there is neither {name}.rs nor {name}/mod.rs in {}", dir.display())
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    })
}

/// Whether something is only there in tests: `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    fn wants_test(tokens: TokenStream) -> bool {
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            match (token, tokens.peek()) {
                (TokenTree::Ident(word), Some(TokenTree::Group(group))) if word == "all" => {
                    return wants_test(group.stream());
                }
                (TokenTree::Ident(word), after) if word == "test" => {
                    return !matches!(after, Some(TokenTree::Punct(mark)) if mark.as_char() == '=');
                }
                (TokenTree::Ident(_), Some(TokenTree::Group(_))) => {
                    tokens.next();
                }
                _ => {}
            }
        }
        false
    }
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => wants_test(list.tokens.clone()),
        _ => false,
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
