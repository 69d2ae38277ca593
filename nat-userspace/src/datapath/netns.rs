//! Which network namespace this process is in.

use std::io;
use std::os::unix::fs::MetadataExt as _;

use super::Error;

/// The inode number that identifies the namespace as long as it exists.
pub(super) fn current() -> Result<u64, Error> {
    let path = "/proc/self/ns/net";
    std::fs::metadata(path).map(|m| m.ino()).map_err(|e: io::Error| Error::pin("read", path)(e))
}
