//! Writing into the checkout, also as root for somebody else.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::unistd::geteuid;

/// Writes `text`, unless it is there already. A new file gets the owner of its directory: under sudo, that is who
/// called.
pub fn write(path: &Path, text: &str) -> Result<()> {
    if fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(());
    }
    let what = || format!("cannot write {}", path.display());
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !dir.is_dir() {
        fs::create_dir_all(dir).with_context(what)?;
        inherit_owner(dir)?;
    }
    let is_new = !path.exists();
    fs::write(path, text).with_context(what)?;
    if is_new { inherit_owner(path) } else { Ok(()) }
}

fn inherit_owner(path: &Path) -> Result<()> {
    let Some(above) = path.parent().and_then(|above| fs::metadata(above).ok()) else { return Ok(()) };
    if geteuid().is_root() {
        chown(path, Some(above.uid()), Some(above.gid()))
            .with_context(|| format!("cannot give {} to the owner of its directory", path.display()))?;
    }
    Ok(())
}
