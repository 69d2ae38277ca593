//! Directories and files that belong to natgw alone: nobody else may read, lock, replace or redirect them.
//!
//! natgw runs as root and acts on what it finds in them. So one that somebody else could have put there is refused
//! before anything is read or written, and a symbolic link is never followed in the last step of a path.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    io,
    os::{
        fd::OwnedFd,
        unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{AtFlags, OFlag, openat, renameat},
    sys::stat::Mode,
    unistd::{UnlinkatFlags, geteuid, linkat, unlinkat},
};

use super::error::Error;

/// Only the owner may enter, list or lock it.
pub const DIRECTORY: u32 = 0o700;
/// Only the owner may read, write or lock it.
pub const FILE: u32 = 0o600;

const BY_OTHERS: u32 = 0o077;
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A directory that passed the checks, held open: what is done in it happens there even if its path is given to
/// another one meanwhile.
#[derive(Debug)]
pub(super) struct Directory {
    fd: File,
    path: PathBuf,
}

impl Directory {
    /// Opens a directory that is the calling user's own and that nobody else can write to.
    pub(super) fn open(path: &Path) -> Result<Self, Error> {
        // Only to say what is there instead; what counts is the look at the open directory.
        let here = fs::symlink_metadata(path).map_err(Error::read(path))?;
        if here.is_symlink() {
            return Err(refused(path, "is a symbolic link", "name the directory itself, or remove the link"));
        }
        if !here.is_dir() {
            return Err(refused(path, "is not a directory", "remove it, or name another directory"));
        }
        owned(path, &here)?;
        let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
        let fd = File::options().read(true).custom_flags(flags).open(path).map_err(Error::read(path))?;
        let metadata = fd.metadata().map_err(Error::read(path))?;
        owned(path, &metadata)?;
        if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            let mode = metadata.mode() & 0o7777;
            let at = path.display();
            let (what, remedy) = (
                format!("can be written by others (mode {mode:04o})"),
                format!("name another directory, or run `chmod 700 {at}` after a look at what is in it"),
            );
            return Err(refused(path, what, remedy));
        }
        Ok(Self { fd, path: path.to_owned() })
    }

    /// Takes away what others may do with it. For one that natgw made.
    pub(super) fn tighten(&self) -> Result<(), Error> {
        tighten(&self.fd, &self.path, DIRECTORY)
    }

    /// Opens a file in it for reading; `None` when there is none.
    pub(super) fn read(&self, name: &str) -> Result<Option<File>, Error> {
        match self.file(name, OFlag::O_RDONLY) {
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    /// Opens a file in it for reading and writing; makes it when there is none.
    pub(super) fn open_or_create(&self, name: &str) -> Result<File, Error> {
        self.file(name, OFlag::O_RDWR | OFlag::O_CREAT)
    }

    /// Makes a new file in place of whatever has the name.
    pub(super) fn replace(&self, name: &str) -> Result<File, Error> {
        self.remove(name)?;
        self.file(name, OFlag::O_RDWR | OFlag::O_CREAT | OFlag::O_EXCL)
    }

    /// Gives a file the name of another, which is replaced.
    pub(super) fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        renameat(&self.fd, from, &self.fd, to).map_err(|e| Error::write(self.path.join(to))(e.into()))
    }

    /// Gives a file the name `to` as well; `false` when another file has it.
    pub(super) fn link(&self, from: &str, to: &str) -> Result<bool, Error> {
        match linkat(&self.fd, from, &self.fd, to, AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(nix::Error::EEXIST) => Ok(false),
            Err(e) => Err(Error::write(self.path.join(to))(e.into())),
        }
    }

    /// Removes a file; there need not be one.
    pub(super) fn remove(&self, name: &str) -> Result<(), Error> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(nix::Error::ENOENT) => Ok(()),
            Err(e) => Err(Error::write(self.path.join(name))(e.into())),
        }
    }

    fn file(&self, name: &str, flags: OFlag) -> Result<File, Error> {
        let path = self.path.join(name);
        // Not blocking, in case that it is a pipe with nobody at its other end.
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let fd: OwnedFd = match openat(&self.fd, name, flags, Mode::from_bits_truncate(FILE)) {
            Ok(fd) => fd,
            Err(nix::Error::ELOOP) => return Err(refused(&path, "is a symbolic link", "remove it")),
            Err(e) => return Err(Error::read(&path)(e.into())),
        };
        let file = File::from(fd);
        let metadata = file.metadata().map_err(Error::read(&path))?;
        if !metadata.is_file() {
            return Err(refused(&path, "is not a file", "remove it"));
        }
        owned(&path, &metadata)?;
        if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
            return Err(refused(&path, "can be written by others", "look at what is in it, and remove it"));
        }
        tighten(&file, &path, FILE)?;
        Ok(file)
    }
}

/// Makes a directory and what it needs above it, for natgw alone whatever the umask; returns what was not there, the
/// innermost first. One that is there already is left as it is.
pub(super) fn make(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let absolute = std::path::absolute(path).map_err(Error::write(path))?;
    // Not `exists`, which calls a symbolic link to nothing absent.
    let is_missing = |p: &&Path| p.symlink_metadata().is_err();
    let missing: Vec<PathBuf> = absolute.ancestors().take_while(is_missing).map(Path::to_owned).collect();
    for directory in missing.iter().rev() {
        match DirBuilder::new().mode(DIRECTORY).create(directory) {
            Ok(()) => tighten(&File::open(directory).map_err(Error::read(directory))?, directory, DIRECTORY)?,
            // Another natgw was first; whether it is fit for use is looked at when it is opened.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(Error::write(directory)(e)),
        }
    }
    Ok(missing)
}

/// Opens a directory in which natgw keeps something, and makes it where there is none, for itself alone. One that somebody
/// else could have prepared is refused.
pub fn directory(path: &Path) -> Result<File, Error> {
    make(path)?;
    check(path)
}

/// The same for one that must exist.
pub fn check(path: &Path) -> Result<File, Error> {
    Directory::open(path).map(|directory| directory.fd)
}

/// Takes away what others may do with a directory that natgw made. Refused as in [`directory`].
pub fn keep_to_ourselves(path: &Path) -> Result<(), Error> {
    Directory::open(path)?.tighten()
}

fn owned(path: &Path, metadata: &Metadata) -> Result<(), Error> {
    let (owner, us) = (metadata.uid(), geteuid().as_raw());
    if owner == us {
        return Ok(());
    }
    let remedy =
        "run natgw as its owner, which is root as a rule; if natgw did not make it, look at it and remove it";
    Err(refused(path, format!("belongs to user {owner}, and natgw runs as user {us}"), remedy))
}

/// Exactly `mode`, whatever the umask or an earlier natgw made of it.
fn tighten(file: &File, path: &Path, mode: u32) -> Result<(), Error> {
    let now = file.metadata().map_err(Error::read(path))?.mode();
    if now & BY_OTHERS == 0 && now & mode == mode {
        return Ok(());
    }
    file.set_permissions(fs::Permissions::from_mode(mode)).map_err(Error::write(path))
}

fn refused(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Error {
    Error::NotPrivate { path: path.to_owned(), what: what.into(), remedy: remedy.into() }
}
