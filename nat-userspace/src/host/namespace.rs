//! Network namespaces: which one this is, and the way into another of which only the inode number is known.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

use super::error::Error;

const OWN: &str = "/proc/thread-self/ns/net";

/// Where `ip netns` keeps namespaces.
const NAMED: &str = "/run/netns";

/// The inode number of the calling thread's namespace, which identifies it for as long as it exists.
pub fn current() -> Result<u64, Error> {
    Ok(fs::metadata(OWN).map_err(Error::read(OWN))?.ino())
}

/// Moves the calling thread into the namespace with this inode number. `Ok(false)`: no process is in it and it has
/// no name, so it is gone, or held in a way that cannot be seen from here.
pub fn enter(inode: u64) -> Result<bool, Error> {
    let own = fs::metadata(OWN).map_err(Error::read(OWN))?;
    if own.ino() == inode {
        return Ok(true);
    }
    let is_it = |path: &PathBuf| is(path, own.dev(), inode);
    let named = entries(Path::new(NAMED)).find(is_it);
    let path = named.or_else(|| entries(Path::new("/proc")).map(|p| p.join("ns/net")).find(is_it));
    let Some(path) = path else { return Ok(false) };
    let moved = File::open(&path).and_then(|file| {
        let metadata = file.metadata()?;
        // The process may have ended since, and its id be another's.
        if (metadata.dev(), metadata.ino()) != (own.dev(), inode) {
            return Err(io::ErrorKind::NotFound.into());
        }
        setns(file, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)
    });
    moved.map_err(|source| Error::EnterNamespace { path, source })?;
    Ok(true)
}

/// Follows links: those in /proc lead to the namespace itself.
fn is(path: &Path, dev: u64, inode: u64) -> bool {
    fs::metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (dev, inode))
}

fn entries(directory: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(directory).into_iter().flatten().flatten().map(|e| e.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_does_not_exist_is_not_entered() {
        let own = current().unwrap();
        assert!(enter(own).unwrap());
        assert!(!enter(u64::MAX).unwrap());
        assert_eq!(current().unwrap(), own);
    }
}
