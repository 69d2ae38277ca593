//! The state directory: who runs here, and what natgw changed on the host and must undo.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::error::Error;
use super::private::{self, Directory};

mod check;
mod record;

pub use record::{AddedAddress, ContestedSysctl, FollowedEip, RunState, SavedOffload, SavedSysctl};

use record::boot_id;

const LOCK: &str = "lock";
const STATE: &str = "state.json";
const NEW_STATE: &str = "state.json.new";

/// Far more than the records of every interface and EIP that natgw can manage.
const MAX_BYTES: u64 = 4 << 20;

/// `--state-dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateDir {
    path: PathBuf,
    /// What [`StateDir::open`] made, the innermost first.
    made: Vec<PathBuf>,
}

/// Held for as long as this process is the gateway of the state directory.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl StateDir {
    /// What the daemon of a state directory recorded, if it did. Looking does not create the directory.
    pub fn recorded(dir: &Path) -> Result<Option<RunState>, Error> {
        if dir.is_dir() { Self::open(dir)?.read() } else { Ok(None) }
    }

    /// Creates the directory when there is none. One in which others could plant something is refused.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let made = private::make(&path)?;
        let this = Self { path, made };
        this.directory()?;
        this.tighten();
        Ok(this)
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes the one gateway of this directory, until the lock is dropped or the process dies.
    pub fn try_lock(&mut self) -> Result<Lock, Error> {
        let path = self.path.join(LOCK);
        let mut file = match self.directory().and_then(|d| d.open_or_create(LOCK)) {
            // Whoever left just now took the directory along.
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                self.made = private::make(&self.path)?;
                return self.try_lock();
            }
            other => other?,
        };
        match file.try_lock() {
            // Whoever left may have removed the file between the opening and the lock; the next one to come makes a
            // new file, and then two would hold a lock.
            Ok(()) if !is_at(&file, &path) => return self.try_lock(),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Locked { dir: self.path.clone(), pid: written_pid(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Write { path, source }),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::write(&path))?;
        Ok(Lock { file })
    }

    /// Who is the gateway of this directory now, as the lock file says; `None` when nobody holds it. What `state.json` says
    /// of a process is no reason to send it a signal.
    pub fn holder(&self) -> Result<Option<u32>, Error> {
        let Some(mut file) = self.directory()?.read(LOCK)? else { return Ok(None) };
        // Given back at once, with the descriptor.
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => Ok(written_pid(&mut file)),
            Err(TryLockError::Error(source)) => Err(Error::Read { path: self.path.join(LOCK), source }),
        }
    }

    /// Gives the directory up: forgets the state, and removes the lock and the directories that natgw made, now or
    /// in an earlier run. One in which somebody else keeps something stays.
    pub fn leave(&self, lock: Lock) -> Result<(), Error> {
        let made = self.directories()?;
        self.clear()?;
        self.unlock(lock, &made);
        Ok(())
    }

    /// [`StateDir::leave`], and removes the directory even if somebody else made it.
    pub fn leave_nothing(&self, lock: Lock) -> Result<(), Error> {
        let mut all = vec![self.path.clone()];
        all.extend(self.directories()?);
        self.clear()?;
        self.unlock(lock, &all);
        Ok(())
    }

    /// Those that natgw made.
    fn directories(&self) -> Result<Vec<PathBuf>, Error> {
        let recorded = self.read()?.map(|s| s.directories).unwrap_or_default();
        Ok(if recorded.is_empty() { self.made.clone() } else { recorded })
    }

    /// Only the holder removes the file, and only the one it holds: otherwise two could hold a lock.
    fn unlock(&self, lock: Lock, directories: &[PathBuf]) {
        if is_at(&lock.file, &self.path.join(LOCK)) {
            // What cannot be removed is an empty file in the way of nobody.
            let _ = self.directory().and_then(|d| d.remove(LOCK));
        }
        for directory in directories {
            match fs::remove_dir(directory) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => break,
                _ => {}
            }
        }
        drop(lock);
    }

    /// `None` when there is no state, or only that of an earlier boot. One that natgw cannot have written is an error.
    pub fn read(&self) -> Result<Option<RunState>, Error> {
        let path = self.path.join(STATE);
        let file = match self.directory().and_then(|d| d.read(STATE)) {
            Ok(Some(file)) => file,
            Ok(None) => return Ok(None),
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e),
        };
        let mut text = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(Error::read(&path))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(Error::StateForged { path, what: format!("more than {MAX_BYTES} bytes") });
        }
        let state: RunState = serde_json::from_slice(&text)
            .map_err(|source| Error::StateCorrupt { path: path.clone(), source })?;
        // serde takes a list for an object whose fields have no names, and an empty one for a state without records.
        if !text.trim_ascii_start().starts_with(b"{") {
            return Err(Error::StateForged { path, what: "a list in place of an object".to_owned() });
        }
        if state.boot_id != boot_id()? {
            return Ok(None);
        }
        match check::flaw(&state, &self.path) {
            Some(what) => Err(Error::StateForged { path, what }),
            None => Ok(Some(state)),
        }
    }

    /// Replaces the state as a whole: a reader sees the old one or the new one. What [`Self::read`] would refuse is not
    /// written.
    pub fn write(&self, state: &RunState) -> Result<(), Error> {
        let path = self.path.join(STATE);
        if let Some(what) = check::flaw(state, &self.path) {
            return Err(Error::StateForged { path, what });
        }
        let text = serde_json::to_string_pretty(state)
            .map_err(|e| Error::Write { path: path.clone(), source: e.into() })?;
        let directory = self.directory()?;
        let mut file = directory.replace(NEW_STATE)?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(Error::write(&path))?;
        directory.rename(NEW_STATE, STATE)
    }

    /// Changes the state, or starts one. For the holder of the lock.
    pub fn update(&self, change: impl FnOnce(&mut RunState)) -> Result<(), Error> {
        let mut state = match self.read()? {
            Some(state) => state,
            None => RunState::here()?,
        };
        if !self.made.is_empty() {
            state.directories.clone_from(&self.made);
        }
        change(&mut state);
        self.write(&state)
    }

    /// Forgets the state: nothing is left to undo.
    pub fn clear(&self) -> Result<(), Error> {
        match self.directory() {
            Ok(directory) => directory.remove(STATE),
            Err(Error::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        }
    }

    /// Checked each time: it may have been made anew since.
    fn directory(&self) -> Result<Directory, Error> {
        Directory::open(&self.path)
    }

    /// An earlier natgw made its directory and files for everybody to read. A directory that somebody else made stays as
    /// it is; the files in it are natgw's alone all the same.
    fn tighten(&self) {
        // What is damaged or foreign is told to whoever reads it. Opening a file tightens it.
        let recorded = self.read().ok().flatten().map(|state| state.directories).unwrap_or_default();
        let is_this = |made: &PathBuf| matches!((made.canonicalize(), self.path.canonicalize()), (Ok(a), Ok(b)) if a == b);
        if recorded.iter().any(is_this) {
            // Not to be able to is not worse than before.
            let _ = private::keep_to_ourselves(&self.path);
        }
        let _ = self.directory().and_then(|d| d.read(LOCK));
    }
}

/// What the holder of a lock wrote into it; it may not have done so yet.
fn written_pid(lock: &mut File) -> Option<u32> {
    let mut pid = String::new();
    lock.take(16).read_to_string(&mut pid).ok()?;
    pid.trim().parse().ok()
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |m: &fs::Metadata| (m.dev(), m.ino());
    matches!((&file.metadata(), &fs::metadata(path)), (Ok(a), Ok(b)) if identity(a) == identity(b))
}

#[cfg(test)]
mod tests;
