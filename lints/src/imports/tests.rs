//! The check, on small crates that are written for it.

use std::fs;

use tempfile::TempDir;

use super::fault::Fault;

/// A crate of these files; the first is its root.
fn check(files: &[(&str, &str)], order: &[&str]) -> Vec<String> {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let faults = super::check(&dir.path().join(files[0].0), dir.path(), order).unwrap();
    faults.iter().map(Fault::to_string).collect()
}

#[test]
fn a_circle_is_told_with_its_files_and_lines() {
    let faults = check(
        &[
            ("lib.rs", "mod a;\nmod b;\nmod c;\nmod free;\n"),
            ("a.rs", "//! a\n\nuse crate::b::B;\npub struct A(B);\n"),
            ("b.rs", "use super::c::C;\npub struct B(C);\n"),
            ("c.rs", "pub struct C;\nfn f() {\n    let _ = crate::a::A::new();\n}\n"),
            ("free.rs", "use crate::{a::A, b::B, c::C};\n"),
        ],
        &[],
    );
    assert_eq!(
        faults,
        ["  circle of 3: a.rs, b.rs, c.rs\
          \n    c.rs:3 -> a.rs  (crate::a::A::new)\
          \n    a.rs:3 -> b.rs  (crate::b::B)\
          \n    b.rs:1 -> c.rs  (super::c::C)"]
    );
}

#[test]
fn a_parent_that_uses_its_child_and_a_child_that_uses_its_parent_are_a_circle() {
    let parent = ("top/mod.rs", "mod child;\npub use child::work;\npub struct Context;\n");
    let uses = ("top/child.rs", "use super::Context;\npub fn work(_: Context) {}\n");
    assert_eq!(check(&[("lib.rs", "mod top;\n"), parent, uses], &[]).len(), 1);
    // The declaration alone is no import.
    let declares = ("top/mod.rs", "pub mod child;\npub struct Context;\n");
    assert!(check(&[("lib.rs", "mod top;\n"), declares, uses], &[]).is_empty());
}

#[test]
fn what_is_re_exported_counts_as_its_definers() {
    let files = [
        ("lib.rs", "mod data;\nmod other;\n"),
        (
            "data/mod.rs",
            "mod error;\nmod load;\npub use error::{Error as Wrong, Kind};\npub use load::load;\n",
        ),
        ("data/error.rs", "pub enum Kind { A }\npub struct Error(pub Kind);\n"),
        (
            "data/load.rs",
            "use super::Wrong;\nuse crate::data;\npub fn load() -> Wrong { Wrong(data::Kind::A) }\n",
        ),
        ("other.rs", "use crate::data::{self, Wrong};\nfn f() -> Wrong { data::load() }\n"),
    ];
    assert!(check(&files, &[]).is_empty(), "{:?}", check(&files, &[]));
    // By a glob, too.
    let glob = ("data/mod.rs", "mod error;\nmod load;\npub use error::*;\npub use load::load;\n");
    let load = ("data/load.rs", "use super::Kind;\npub fn load() -> Kind { Kind::A }\n");
    let files = [files[0], glob, files[2], load, files[4]];
    assert!(check(&files, &[]).is_empty(), "{:?}", check(&files, &[]));
    // What the module that re-exports defines itself is its own.
    let glob =
        ("data/mod.rs", "mod error;\nmod load;\npub use error::*;\npub use load::load;\npub struct Wrong;\n");
    let load = ("data/load.rs", "use super::Wrong;\npub fn load() -> Wrong { Wrong }\n");
    let files = [files[0], glob, files[2], load, files[4]];
    let faults = check(&files, &[]);
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("data/load.rs:1 -> data/mod.rs  (super::Wrong)"), "{faults:?}");
}

#[test]
fn paths_in_macros_and_in_files_of_inline_modules_count() {
    let faults = check(
        &[
            ("main.rs", "mod a;\nmod outer { pub mod inner; }\n"),
            (
                "a.rs",
                "use crate::outer::inner;\nfn f() { println!(\"{}\", g(inner::NUMBER)); }\npub const ONE: u8 = 1;\n",
            ),
            (
                "outer/inner.rs",
                "macro_rules! one { ($e:expr) => { $crate::a::ONE + $e } }\npub const NUMBER: u8 = 1;\n",
            ),
        ],
        &[],
    );
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert!(faults[0].contains("a.rs:2 -> outer/inner.rs  (inner::NUMBER)"), "{faults:?}");
    assert!(faults[0].contains("outer/inner.rs:1 -> a.rs  (crate::a::ONE)"), "{faults:?}");
}

#[test]
fn tests_may_import_what_they_like() {
    let inline = "pub struct A;\n#[cfg(test)]\nmod tests {\n    use crate::b::B;\n    use super::*;\n}\n";
    let b = ("b.rs", "use crate::a::A;\npub struct B(A);\n");
    let lib = ("lib.rs", "mod a;\nmod b;\n");
    assert!(check(&[lib, ("a.rs", inline), b], &["a", "b"]).is_empty());
    let function = "pub struct A;\nimpl A {\n    #[cfg(all(test, unix))]\n    fn f(_: crate::b::B) {}\n}\n";
    assert!(check(&[lib, ("a.rs", function), b], &["a", "b"]).is_empty());
    // What is compiled without tests is no test.
    for condition in ["not(test)", "any(test, unix)", "feature = \"test\""] {
        let shipped = format!("pub struct A;\n#[cfg({condition})]\nuse crate::b::B;\n");
        assert_eq!(check(&[lib, ("a.rs", &shipped), b], &["a", "b"]).len(), 2, "{condition}");
    }
}

#[test]
fn an_import_against_the_order_is_told() {
    let files = [
        ("lib.rs", "mod low;\nmod high;\npub const ROOT: u8 = 0;\n"),
        ("low/mod.rs", "mod deep;\n"),
        ("low/deep.rs", "use crate::high::HIGH;\n"),
        ("high.rs", "pub const HIGH: u8 = 1;\n"),
    ];
    assert_eq!(
        check(&files, &["low", "high"]),
        ["  low imports high, which comes after it\n    low/deep.rs:1 -> high.rs  (crate::high::HIGH)"]
    );
    // The other way round, and side by side, it is fine.
    assert!(check(&files, &["high", "low"]).is_empty());
    assert!(check(&files, &["to_come", "low high"]).is_empty());
    assert_eq!(
        check(&files, &["high"]),
        ["  low has no line in the order of the house: give it one, in lints/src/house.rs"]
    );
    let root = ("low/deep.rs", "use crate::ROOT;\n");
    let faults = check(&[files[0], files[1], root, files[3]], &["low", "high"]);
    assert!(faults[0].contains("low imports the crate's root"), "{faults:?}");
}

#[test]
fn folders_without_an_order_form_no_circle_either() {
    let files = [
        ("lib.rs", "mod a;\nmod b;\n"),
        ("a/mod.rs", "mod one;\npub mod two;\n"),
        ("a/one.rs", "use crate::b::three::THREE;\n"),
        ("a/two.rs", "pub const TWO: u8 = 2;\n"),
        ("b/mod.rs", "pub mod three;\nmod four;\n"),
        ("b/three.rs", "pub const THREE: u8 = 3;\n"),
        ("b/four.rs", "use crate::a::two::TWO;\n"),
    ];
    let faults = check(&files, &[]);
    assert_eq!(
        faults,
        ["  circle of 2: a, b\
          \n    b/four.rs:1 -> a/two.rs  (crate::a::two::TWO)\
          \n    a/one.rs:1 -> b/three.rs  (crate::b::three::THREE)"]
    );
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let dir = TempDir::new().unwrap();
    let root = dir.path().join("lib.rs");
    fs::write(&root, "mod missing;\n").unwrap();
    let error = format!("{:#}", super::check(&root, dir.path(), &[]).unwrap_err());
    assert!(error.contains("neither missing.rs nor missing/mod.rs"), "{error}");
    fs::write(&root, "fn {\n").unwrap();
    let error = format!("{:#}", super::check(&root, dir.path(), &[]).unwrap_err());
    assert!(error.contains("cannot parse") && error.contains("lib.rs"), "{error}");
}
