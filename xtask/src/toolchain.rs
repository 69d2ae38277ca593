//! The BPF toolchain: a compiler with the sources of `core` for it, and a linker that knows its LLVM.
//!
//! Two compilers will do: rustup's with the rust-src component, or Debian's `rustc-web` with
//! `rust-web-src`. What is installed already wins, in that order; then what can be installed, in that order.
//! `NATGW_BPF_TOOLCHAIN=rustup|debian` picks one.

mod compiler;
mod debian;
mod linker;
mod rustup;

use std::env;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::process::{output, say};
use compiler::Compiler;
pub(crate) use compiler::Kind;

/// Everything that compiling for BPF needs.
pub(crate) struct Toolchain {
    /// Whose compiler it is.
    pub(crate) kind: Kind,
    /// The compiler.
    pub(crate) rustc: PathBuf,
    /// bpf-linker.
    pub(crate) linker: PathBuf,
    /// A directory with exactly the libLLVM that reads this compiler's bitcode.
    pub(crate) llvm: PathBuf,
}

impl Toolchain {
    /// What the code that it makes depends on, in one line without paths: `rustc 1.95.0, LLVM 22.1.2, bpf-linker
    /// 0.10.3`.
    pub(crate) fn identity(&self) -> String {
        let verbose = output(Command::new(&self.rustc).arg("-vV")).unwrap_or_default();
        let value =
            |name: &str| verbose.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("unknown");
        let (rustc, llvm) = (value("release: "), value("LLVM version: "));
        format!("rustc {rustc}, LLVM {llvm}, bpf-linker {}", linker::VERSION)
    }
}

/// Finds the toolchain or installs what is missing of it, saying what and why.
pub(crate) fn prepare() -> Result<Toolchain> {
    let compiler = match env::var("NATGW_BPF_TOOLCHAIN").as_deref() {
        Ok("rustup") => rustup::find().map_or_else(rustup::install, Ok)?,
        Ok("debian") => debian::find().map_or_else(debian::install, Ok)?,
        Ok(other) if !other.is_empty() => bail!("NATGW_BPF_TOOLCHAIN={other}: it is `rustup` or `debian`"),
        _ => rustup::find().or_else(debian::find).map_or_else(install, Ok)?,
    };
    say(&format!("BPF compiler: {}", compiler.version));
    check_llvm(&compiler)?;
    let linker = linker::prepare(&compiler.llvm)?;
    Ok(Toolchain { kind: compiler.kind, rustc: compiler.rustc, linker, llvm: compiler.llvm })
}

fn install() -> Result<Compiler> {
    let rustup = match rustup::install() {
        Ok(compiler) => return Ok(compiler),
        Err(error) => error,
    };
    say(&format!("{rustup:#}; trying Debian's compiler instead"));
    debian::install().context("no compiler with the sources of `core`")
}

/// bpf-linker reads bitcode of the LLVM it was made for, and of older ones: a newer compiler needs a newer linker.
fn check_llvm(compiler: &Compiler) -> Result<()> {
    let verbose = output(Command::new(&compiler.rustc).arg("-vV")).unwrap_or_default();
    let major = verbose
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version: "))
        .and_then(|version| version.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major <= linker::LLVM_MAJOR => Ok(()),
        Some(major) => bail!(
            "{} uses LLVM {major}, and bpf-linker {} knows LLVM {} at most; use the toolchain that \
             rust-toolchain.toml names: rustup component add rust-src",
            compiler.version,
            linker::VERSION,
            linker::LLVM_MAJOR
        ),
        None => bail!("{} does not say which LLVM it uses", compiler.rustc.display()),
    }
}
