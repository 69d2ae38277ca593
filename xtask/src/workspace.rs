//! Where things are: the checkout, its target directory, the cache of tools.

use std::env;
use std::path::{Path, PathBuf};

/// The target triple of the BPF object.
pub(crate) const BPF_TARGET: &str = "bpfel-unknown-none";

/// The checkout's root directory.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// Cargo's target directory for everything that runs on the host.
pub(crate) fn target() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir,
        Some(dir) => env::current_dir().unwrap_or_else(|_| root()).join(dir),
        None => root().join("target"),
    }
}

/// The finished BPF object, the one that gets embedded.
pub(crate) fn object() -> PathBuf {
    target().join("bpf").join("natgw-bpf")
}

/// The benchmark's BPF object.
pub(crate) fn bench_object() -> PathBuf {
    target().join("bpf").join("natgw-bench-bpf")
}

/// Tools that xtask installs for itself.
pub(crate) fn tools() -> PathBuf {
    cache().join("tools")
}

/// What xtask keeps, shared by all checkouts of this user.
pub(crate) fn cache() -> PathBuf {
    let cache = env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .filter(|dir| dir.is_absolute())
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .unwrap_or_else(target);
    cache.join("natgw")
}

/// `path` as a person would type it from the checkout.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}
