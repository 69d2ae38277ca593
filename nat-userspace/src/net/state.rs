//! The state directory: who runs here, and what natgw changed on the host and must undo.

use std::{
    fs::{self, DirBuilder, File, TryLockError},
    io::{self, Read, Write},
    net::Ipv4Addr,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{Error, namespace};

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

/// `state.json`. Changed through [`StateDir::update`], so that no part of natgw loses another's records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunState {
    /// natgw's version.
    pub version: String,
    /// The daemon.
    pub pid: u32,
    /// When it started, in seconds since the epoch.
    pub started: u64,
    /// Where the pins are (without the schema directory).
    pub bpffs: PathBuf,
    /// Managed interfaces, those that are missing included.
    pub interfaces: Vec<Interface>,
    /// Every EIP.
    pub eips: Vec<Ipv4Addr>,
    /// What sysctls were before natgw changed them.
    pub sysctls: Vec<SavedSysctl>,
    /// Interfaces on which natgw turned `rxvlan` off.
    pub offloads: Vec<SavedOffload>,
    /// EIPs that natgw added to an interface.
    pub addresses: Vec<AddedAddress>,
    /// The data plane stays when the daemon stops.
    pub persist: bool,
    /// Directories that natgw made for its state, the innermost first; they go when nothing is left to record.
    pub directories: Vec<PathBuf>,
    /// The boot that all this is true for.
    boot_id: String,
    /// The network namespace (inode) that all this is true for.
    netns: u64,
}

/// A managed interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// Index.
    pub ifindex: u32,
    /// Role.
    pub side: InterfaceSide,
    /// How XDP is attached.
    pub xdp_mode: XdpMode,
    /// It is configured and not there (any more); the other fields tell of when it was.
    #[serde(default)]
    pub missing: bool,
}

/// The role of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InterfaceSide {
    /// Towards the clients.
    Inside,
    /// Towards the internet.
    Outside,
    /// One-armed.
    Both,
}

/// How XDP is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// In the driver.
    Native,
    /// In the stack.
    Generic,
}

/// A sysctl that natgw changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedSysctl {
    /// Interface name.
    pub interface: String,
    /// Interface index: a new interface of the same name has nothing to restore.
    pub ifindex: u32,
    /// Key below `net.ipv4.conf.<interface>`.
    pub key: String,
    /// Value before.
    pub original: String,
    /// Value that natgw wrote; when it is another by now, somebody else owns it.
    pub applied: String,
}

/// An interface that took 802.1Q tags off (`rxvlan`) before natgw turned that off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOffload {
    /// Interface name.
    pub interface: String,
    /// Interface index: a new interface of the same name has nothing to restore.
    pub ifindex: u32,
}

/// An EIP that natgw added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedAddress {
    /// The EIP, as /32.
    pub addr: Ipv4Addr,
    /// Interface name.
    pub interface: String,
    /// Interface index.
    pub ifindex: u32,
}

impl StateDir {
    /// Creates the directory when there is none.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        let path = path.into();
        let made = make(&path)?;
        Ok(Self { path, made })
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes the one gateway of this directory, until the lock is dropped or the process dies.
    pub fn try_lock(&mut self) -> Result<Lock, Error> {
        let path = self.lock_file();
        let mut options = File::options();
        let mut file = match options.read(true).write(true).create(true).truncate(false).open(&path) {
            // Whoever left just now took the directory along.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                self.made = make(&self.path)?;
                return self.try_lock();
            }
            other => other.map_err(Error::write(&path))?,
        };
        match file.try_lock() {
            // Whoever left may have removed the file between the opening and the lock; the next one to come makes a
            // new file, and then two would hold a lock.
            Ok(()) if !is_at(&file, &path) => return self.try_lock(),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // The holder may not have written its pid yet.
                let _ = file.read_to_string(&mut pid);
                return Err(Error::Locked { dir: self.path.clone(), pid: pid.trim().parse().ok() });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Write { path, source }),
        }
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(Error::write(&path))?;
        Ok(Lock { file })
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
        let path = self.lock_file();
        if is_at(&lock.file, &path) {
            // What cannot be removed is an empty file in the way of nobody.
            let _ = fs::remove_file(path);
        }
        for directory in directories {
            match fs::remove_dir(directory) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => break,
                _ => {}
            }
        }
        drop(lock);
    }

    /// `None` when there is no state, or only that of an earlier boot.
    pub fn read(&self) -> Result<Option<RunState>, Error> {
        let path = self.file();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
        };
        let state: RunState =
            serde_json::from_str(&text).map_err(|source| Error::StateCorrupt { path, source })?;
        Ok((state.boot_id == boot_id()?).then_some(state))
    }

    /// Replaces the state as a whole: a reader sees the old one or the new one.
    pub fn write(&self, state: &RunState) -> Result<(), Error> {
        let (path, new) = (self.file(), self.path.join("state.json.new"));
        let text = serde_json::to_string_pretty(state)
            .map_err(|e| Error::Write { path: path.clone(), source: e.into() })?;
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(Error::write(&path))
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
        let path = self.file();
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::Write { path, source: e }),
            _ => Ok(()),
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("lock")
    }

    fn file(&self) -> PathBuf {
        self.path.join("state.json")
    }
}

impl RunState {
    /// An empty state for this process, boot and network namespace.
    pub fn here() -> Result<Self, Error> {
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started: std::time::UNIX_EPOCH.elapsed().map_or(0, |t| t.as_secs()),
            boot_id: boot_id()?,
            netns: namespace::current()?,
            ..Self::default()
        })
    }

    /// Whether it tells of the network namespace that the calling thread is in. In any other one the recorded
    /// interfaces are different interfaces.
    pub fn is_of_this_namespace(&self) -> Result<bool, Error> {
        Ok(self.netns == namespace::current()?)
    }

    /// The inode number of that network namespace.
    pub fn namespace(&self) -> u64 {
        self.netns
    }
}

/// Makes a directory and what it needs above it; returns what was not there, the innermost first.
fn make(path: &Path) -> Result<Vec<PathBuf>, Error> {
    let absolute = std::path::absolute(path).map_err(Error::write(path))?;
    let missing = absolute.ancestors().take_while(|a| !a.exists()).map(Path::to_owned).collect();
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(Error::write(path))?;
    Ok(missing)
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |m: &fs::Metadata| (m.dev(), m.ino());
    matches!((&file.metadata(), &fs::metadata(path)), (Ok(a), Ok(b)) if identity(a) == identity(b))
}

fn boot_id() -> Result<String, Error> {
    const PATH: &str = "/proc/sys/kernel/random/boot_id";
    Ok(fs::read_to_string(PATH).map_err(Error::read(PATH))?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_is_kept_and_a_missing_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path().join("a/b")).unwrap();
        assert_eq!(state.read().unwrap(), None);
        state.update(|s| s.persist = true).unwrap();
        assert!(state.read().unwrap().unwrap().persist);
        assert!(state.read().unwrap().unwrap().is_of_this_namespace().unwrap());
        state.clear().unwrap();
        state.clear().unwrap();
        assert_eq!(state.read().unwrap(), None);
    }

    #[test]
    fn a_damaged_state_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        fs::write(dir.path().join("state.json"), "{").unwrap();
        let error = state.read().unwrap_err();
        assert!(matches!(error, Error::StateCorrupt { .. }));
        assert!(error.to_string().contains("state.json"));
    }

    #[test]
    fn the_state_of_another_boot_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::open(dir.path()).unwrap();
        let other = RunState { boot_id: "another".into(), ..RunState::here().unwrap() };
        state.write(&other).unwrap();
        assert_eq!(state.read().unwrap(), None);
    }

    #[test]
    fn a_second_lock_names_the_holder() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = StateDir::open(dir.path()).unwrap();
        let held = state.try_lock().unwrap();
        let error = state.try_lock().unwrap_err();
        assert!(matches!(error, Error::Locked { pid, .. } if pid == Some(std::process::id())));
        fs::remove_file(dir.path().join("lock")).unwrap();
        drop(held);
        state.try_lock().unwrap();
    }

    #[test]
    fn who_leaves_takes_along_what_natgw_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let mut state = StateDir::open(&path).unwrap();
        let lock = state.try_lock().unwrap();
        state.update(|_| ()).unwrap();
        drop((state, lock));
        // A later process, which finds the directory there.
        let mut state = StateDir::open(&path).unwrap();
        let lock = state.try_lock().unwrap();
        let mut waiting = StateDir::open(&path).unwrap();
        state.leave(lock).unwrap();
        assert!(!dir.path().join("a").exists());
        let lock = waiting.try_lock().unwrap();
        assert!(path.join("lock").exists(), "one that was about to lock makes the directory again");
        waiting.leave(lock).unwrap();
        assert!(!dir.path().join("a").exists());
    }

    #[test]
    fn who_leaves_spares_what_others_made() {
        let dir = tempfile::tempdir().unwrap();
        let open = || {
            let mut state = StateDir::open(dir.path()).unwrap();
            let lock = state.try_lock().unwrap();
            (state, lock)
        };
        let (state, lock) = open();
        state.update(|_| ()).unwrap();
        state.leave(lock).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        // Its lock file was removed by hand, and another gateway has a new one.
        let (state, lock) = open();
        fs::remove_file(dir.path().join("lock")).unwrap();
        let (other, held) = open();
        state.leave_nothing(lock).unwrap();
        assert!(dir.path().join("lock").exists());
        other.leave_nothing(held).unwrap();
        assert!(!dir.path().exists());
    }
}
