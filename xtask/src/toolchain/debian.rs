//! Debian 12's compiler for web browsers, `rustc-web`, and its sources, `rust-web-src`: for machines that reach a
//! Debian mirror but not Rust's own servers.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use super::compiler::{Compiler, Kind, core_sources, describe};
use super::linker;
use crate::packages;
use crate::process::output;
use crate::workspace;

const PACKAGES: [&str; 2] = ["rustc-web", "rust-web-src"];
const RUSTC: &str = "/usr/bin/rustc";

/// Debian's compiler, when it and its sources are installed in the same version and bpf-linker can read its bitcode.
pub(super) fn find() -> Option<Compiler> {
    let [compiler, sources] = PACKAGES.map(packages::installed_version);
    if compiler? != sources? {
        return None;
    }
    let sysroot = PathBuf::from(output(Command::new(RUSTC).args(["--print", "sysroot"]))?);
    if !core_sources(&sysroot).is_file() {
        return None;
    }
    let version = describe(Path::new(RUSTC), "Debian's rustc-web, with rust-web-src")?;
    let llvm = private_llvm().ok()?;
    Some(Compiler { kind: Kind::Debian, rustc: RUSTC.into(), llvm, version })
}

/// Installs both packages.
pub(super) fn install() -> Result<Compiler> {
    packages::install(&PACKAGES)?;
    private_llvm()?;
    find().with_context(|| {
        let [compiler, sources] =
            PACKAGES.map(|name| packages::installed_version(name).unwrap_or_else(|| "none".to_owned()));
        format!(
            "rustc-web ({compiler}) and rust-web-src ({sources}) should be of one version; run: \
             sudo apt-get update && sudo apt-get install -y rustc-web rust-web-src"
        )
    })
}

/// A directory that holds Debian's libLLVM of the right version and nothing else: bpf-linker opens the first file
/// called `libLLVM*` that it meets, and Debian keeps several LLVMs in one directory.
fn private_llvm() -> Result<PathBuf> {
    let name = format!("libLLVM.so.{}.1", linker::LLVM_MAJOR);
    let library = fs::read_dir("/usr/lib")?
        .flatten()
        .map(|entry| entry.path().join(&name))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("rustc-web is not built on LLVM {}: no {name} in /usr/lib", linker::LLVM_MAJOR)
        })?;
    let dir = workspace::target().join("bpf-llvm");
    let link = dir.join(&name);
    if fs::read_link(&link).is_ok_and(|to| to == library) {
        return Ok(dir);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Absent is fine; anything else shows in the next line.
    drop(fs::remove_file(&link));
    symlink(&library, &link).with_context(|| format!("cannot link {}", link.display()))?;
    Ok(dir)
}
