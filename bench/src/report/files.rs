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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_the_directory_and_leaves_alone_what_is_the_same() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("plots/a.svg");
        write(&path, "one").expect("writes");
        assert_eq!(fs::read_to_string(&path).expect("is there"), "one");

        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1);
        let touch =
            || fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(long_ago));
        touch().expect("may be dated back");
        let modified = || fs::metadata(&path).and_then(|data| data.modified()).expect("is there");
        write(&path, "one").expect("writes");
        assert_eq!(modified(), long_ago);
        write(&path, "two").expect("writes");
        assert_ne!(modified(), long_ago);
        assert_eq!(fs::read_to_string(&path).expect("is there"), "two");
    }

    #[test]
    fn says_what_it_cannot_write() {
        let error = write(Path::new("/proc/nothing/x"), "").expect_err("cannot be");
        assert!(error.to_string().contains("/proc/nothing/x"), "{error:#}");
    }
}
