//! A compiler for BPF, whoever it is from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::output;

/// Whose compiler it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The rustup toolchain of this checkout.
    Rustup,
    /// Debian's rustc-web.
    Debian,
}

/// A compiler that has the sources of `core`, and the libLLVM that goes with it.
pub(super) struct Compiler {
    pub(super) kind: Kind,
    pub(super) rustc: PathBuf,
    pub(super) llvm: PathBuf,
    pub(super) version: String,
}

/// The sources of `core` beneath a compiler's sysroot.
pub(super) fn core_sources(sysroot: &Path) -> PathBuf {
    sysroot.join("lib/rustlib/src/rust/library/core/src/lib.rs")
}

/// One line that names a compiler: its version and where it came from.
pub(super) fn describe(rustc: &Path, origin: &str) -> Option<String> {
    Some(format!("{} ({origin})", output(Command::new(rustc).arg("--version"))?))
}
