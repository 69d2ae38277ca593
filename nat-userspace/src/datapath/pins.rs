//! Where the data plane is pinned, and how pins go away.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nat_common::abi;
use nix::fcntl::{Flock, FlockArg};

use super::error::Error;
use super::sys;
use super::sys::Kind;
use crate::host::private;

/// Which tc hook a guard is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Frames that leave.
    Egress,
    /// Frames that arrive.
    Ingress,
}

/// What to keep when a directory of pins is emptied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// Nothing; guards go last.
    Nothing,
    /// The guards, so that nothing leaks until new ones have replaced them.
    Guards,
}

/// The pin directory of one gateway: `<bpffs>/v<schema>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pins {
    root: PathBuf,
    dir: PathBuf,
}

/// Held by the process that owns a gateway's pins.
#[derive(Debug)]
pub struct PinLock(#[expect(dead_code, reason = "held for its effect")] Flock<File>);

/// As [`found`] and [`expect`] call it.
pub(super) const MAP: &str = "a map";
/// As [`found`] and [`expect`] call it.
pub(super) const PROGRAM: &str = "a program";
/// As [`found`] and [`expect`] call it.
pub(super) const LINK: &str = "a link";

const XDP: &str = "link_xdp_";
const GUARD: &str = "link_guard_";
const TC: &str = "tc_guard_";
const TWIN: &str = "link_twin_";
const TC_TWIN: &str = "tc_twin_";
const NAMESPACE: &str = "netns_";

impl Pins {
    /// The pins beneath `root`, a directory on a bpffs (which need not exist).
    pub fn new(root: impl Into<PathBuf>) -> Self {
        let root = root.into();
        let dir = root.join(format!("v{}", abi::SCHEMA));
        Self { root, dir }
    }

    /// The directory of this schema's pins.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether a data plane of this schema is pinned here, complete or not.
    pub fn exist(&self) -> bool {
        self.dir.is_dir()
    }

    /// A map's pin.
    pub fn map(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether a map is pinned.
    pub fn has_map(&self, name: &str) -> bool {
        self.map(name).exists()
    }

    /// A program's pin.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(format!("prog_{name}"))
    }

    /// The pin of the XDP link of an interface.
    pub fn xdp_link(&self, interface: &str) -> PathBuf {
        self.dir.join(format!("{XDP}{}", escape(interface)))
    }

    /// The pin of a guard's link on an interface.
    pub fn guard_link(&self, hook: Hook, interface: &str) -> PathBuf {
        let hook = match hook {
            Hook::Egress => "egress",
            Hook::Ingress => "ingress",
        };
        self.dir.join(format!("{GUARD}{hook}_{}", escape(interface)))
    }

    /// The pin of a link of a program that counts what is lost.
    pub fn lost_link(&self, program: &str) -> PathBuf {
        self.dir.join(format!("link_{program}"))
    }

    /// Marks an interface whose guards are classic tc filters, which outlive the process without a pin.
    pub(super) fn tc_mark(&self, interface: &str) -> PathBuf {
        self.dir.join(format!("{TC}{}", escape(interface)))
    }

    /// The pin of the link of the tc program that translates an interface's packets.
    pub fn twin_link(&self, interface: &str) -> PathBuf {
        self.dir.join(format!("{TWIN}{}", escape(interface)))
    }

    /// Marks an interface on which that program is a classic tc filter.
    pub(super) fn tc_twin_mark(&self, interface: &str) -> PathBuf {
        self.dir.join(format!("{TC_TWIN}{}", escape(interface)))
    }

    /// Interfaces on which it is a classic tc filter.
    pub(super) fn tc_twinned(&self) -> Result<Vec<String>, Error> {
        Ok(names(&self.dir)?.iter().filter_map(|n| n.strip_prefix(TC_TWIN)).map(unescape).collect())
    }

    /// Gives what is pinned of an interface the interface's new name.
    pub(super) fn rename(&self, before: &str, name: &str) -> Result<(), Error> {
        for prefix in [XDP, TWIN, TC, TC_TWIN, "link_guard_egress_", "link_guard_ingress_"] {
            let from = self.dir.join(format!("{prefix}{}", escape(before)));
            let to = self.dir.join(format!("{prefix}{}", escape(name)));
            if from.exists() {
                // Of an interface that had the name before, and is gone.
                remove(&to)?;
                std::fs::rename(&from, &to).map_err(Error::pin("rename a pin to", &to))?;
            }
        }
        Ok(())
    }

    /// Interfaces whose guards are classic tc filters.
    pub(super) fn tc_guarded(&self) -> Result<Vec<String>, Error> {
        Ok(names(&self.dir)?.iter().filter_map(|n| n.strip_prefix(TC)).map(unescape).collect())
    }

    /// Marks which network namespace the links are in. bpffs holds no files, so the mark is a directory.
    pub(super) fn namespace_mark(&self, inode: u64) -> PathBuf {
        self.dir.join(format!("{NAMESPACE}{inode}"))
    }

    /// The network namespace that the pins belong to, if they say so.
    pub fn namespace(&self) -> Result<Option<u64>, Error> {
        let names = names(&self.dir)?;
        Ok(names.iter().find_map(|n| n.strip_prefix(NAMESPACE)).and_then(|n| n.parse().ok()))
    }

    /// Interfaces of which something is pinned, or marked, that translates their packets; each once.
    pub fn attached(&self) -> Result<Vec<String>, Error> {
        let mut all: Vec<String> = names(&self.dir)?
            .iter()
            .filter_map(|n| [XDP, TWIN, TC_TWIN].iter().find_map(|prefix| n.strip_prefix(prefix)))
            .map(unescape)
            .collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Interfaces that have a guard pinned, each once.
    pub fn guarded(&self) -> Result<Vec<String>, Error> {
        let mut all: Vec<String> = names(&self.dir)?
            .iter()
            .filter_map(|n| n.strip_prefix(GUARD)?.split_once('_').map(|(_, i)| unescape(i)))
            .collect();
        all.sort();
        all.dedup();
        Ok(all)
    }

    /// Directories beside ours that hold another schema's pins.
    pub fn other_versions(&self) -> Result<Vec<PathBuf>, Error> {
        Ok(names(&self.root)?
            .iter()
            .filter(|n| is_version(n))
            .map(|n| self.root.join(n))
            .filter(|d| *d != self.dir)
            .collect())
    }

    /// Creates the directory, for natgw alone. One of an earlier natgw, which others could enter, is shut.
    pub fn create(&self) -> Result<(), Error> {
        private::directory(&self.dir)?;
        Ok(private::keep_to_ourselves(&self.dir)?)
    }

    /// Takes the gateway's pins for this process, until the lock is dropped.
    pub fn lock(&self) -> Result<PinLock, Error> {
        let dir = private::directory(&self.root)?;
        // Whoever may open it may lock it. A place that natgw shares, or the root of a bpffs, is its maker's to shut.
        if self.is_natgws_alone()? {
            private::keep_to_ourselves(&self.root)?;
        }
        match Flock::lock(dir, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => Ok(PinLock(lock)),
            Err((_, nix::Error::EWOULDBLOCK)) => Err(Error::InUse { dir: self.root.clone() }),
            Err((_, e)) => Err(Error::pin("lock", &self.root)(e.into())),
        }
    }

    /// Whether the root is a directory in which there is nothing but pins of natgw's.
    fn is_natgws_alone(&self) -> Result<bool, Error> {
        let device = |path: &Path| path.metadata().map(|m| m.dev()).map_err(Error::pin("look at", path));
        let is_mount = match self.root.parent() {
            Some(above) => device(above)? != device(&self.root)?,
            None => true,
        };
        Ok(!is_mount && names(&self.root)?.iter().all(|name| is_version(name)))
    }

    /// Something in a directory of pins that natgw cannot have made and does not remove: a directory with something in
    /// it.
    pub(super) fn foreign(&self) -> Result<Option<PathBuf>, Error> {
        for dir in self.other_versions()?.iter().chain([&self.dir]) {
            for path in names(dir)?.iter().map(|name| dir.join(name)) {
                let is_directory = path.symlink_metadata().is_ok_and(|m| m.is_dir());
                if is_directory && !names(&path)?.is_empty() {
                    return Ok(Some(path));
                }
            }
        }
        Ok(None)
    }

    /// Removes every pin of this schema and of others, and the directories that are then empty. Goes on after an error
    /// and returns the first.
    pub fn remove_all(&self) -> Result<(), Error> {
        let mut result = Ok(());
        for dir in self.other_versions()? {
            result = result.and(clear(&dir, Keep::Nothing));
        }
        result.and(clear(&self.dir, Keep::Nothing))?;
        match std::fs::remove_dir(&self.root) {
            // A bpffs of its own mounted here, or somebody else's pins: not ours to remove.
            Ok(()) => Ok(()),
            Err(e) if matches!(e.raw_os_error(), Some(libc::ENOENT | libc::EBUSY | libc::ENOTEMPTY)) => {
                Ok(())
            }
            Err(e) => Err(Error::pin("remove", &self.root)(e)),
        }
    }
}

/// Empties a directory of pins: what translates packets first, guards last, and then the directory itself.
pub(super) fn clear(dir: &Path, keep: Keep) -> Result<(), Error> {
    let mut names = names(dir)?;
    names.sort_by_key(|n| (is_guard(n), ![XDP, TWIN].iter().any(|prefix| n.starts_with(prefix))));
    // What somebody else put among them is no reason to leave the others.
    let mut result = Ok(());
    for name in names.iter().filter(|n| keep == Keep::Nothing || !is_guard(n)) {
        result = result.and(remove(&dir.join(name)));
    }
    if keep == Keep::Guards {
        return result;
    }
    result?;
    match std::fs::remove_dir(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::pin("remove", dir)(e)),
        _ => Ok(()),
    }
}

/// Removes one pin (or mark), which may be gone already. What a link attached is detached on return.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    let is_link = path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("link_"));
    if is_link && let Ok(link) = sys::object_get(path) {
        // A link whose interface is gone has nothing to detach; unpinning frees it either way.
        let _ = sys::link_detach(link);
    }
    let is_directory = path.symlink_metadata().is_ok_and(|m| m.is_dir());
    let removed = if is_directory { std::fs::remove_dir(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => {
            Err(Error::ForeignPin { path: path.to_owned() })
        }
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::pin("remove", path)(e)),
        _ => Ok(()),
    }
}

/// What has a pin's name; `None` when nothing has.
pub(super) fn found(path: &Path) -> Result<Option<&'static str>, Error> {
    let metadata = match path.symlink_metadata() {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::pin("look at", path)(e)),
    };
    if metadata.is_dir() {
        return Ok(Some("a directory"));
    }
    if metadata.is_symlink() {
        return Ok(Some("a symbolic link"));
    }
    let object = sys::object_get(path).map_err(Error::pin("open", path))?;
    Ok(Some(match sys::kind(&object).map_err(Error::pin("inspect", path))? {
        Kind::Map => MAP,
        Kind::Program => PROGRAM,
        Kind::Link => LINK,
    }))
}

/// An error when something else than `wanted` has the name; the kernel would tell of it as if it were that.
pub(super) fn expect(path: &Path, wanted: &'static str) -> Result<(), Error> {
    match found(path)? {
        Some(found) if found != wanted => Err(Error::WrongPin { path: path.to_owned(), found, wanted }),
        _ => Ok(()),
    }
}

/// The directory of some schema.
fn is_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|v| v.parse::<u32>().is_ok())
}

fn is_guard(name: &str) -> bool {
    name.starts_with(GUARD) || name.starts_with(TC)
}

fn names(dir: &Path) -> Result<Vec<String>, Error> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::pin("list", dir)(e)),
    };
    entries
        .map(|e| e.map(|e| e.file_name().to_string_lossy().into_owned()).map_err(Error::pin("list", dir)))
        .collect()
}

/// bpffs reserves names with dots (kernel/bpf/inode.c, `bpf_lookup`); interface names never have a colon.
fn escape(interface: &str) -> String {
    interface.replace('.', ":")
}

fn unescape(name: &str) -> String {
    name.replace(':', ".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_documented() {
        let pins = Pins::new("/sys/fs/bpf/natgw");
        assert_eq!(pins.map("FLOWS"), Path::new("/sys/fs/bpf/natgw/v5/FLOWS"));
        assert_eq!(pins.program("reaper"), Path::new("/sys/fs/bpf/natgw/v5/prog_reaper"));
        assert_eq!(pins.xdp_link("eth0"), Path::new("/sys/fs/bpf/natgw/v5/link_xdp_eth0"));
        assert_eq!(pins.xdp_link("eth0.7"), Path::new("/sys/fs/bpf/natgw/v5/link_xdp_eth0:7"));
        let guard = pins.guard_link(Hook::Egress, "eth0");
        assert_eq!(guard, Path::new("/sys/fs/bpf/natgw/v5/link_guard_egress_eth0"));
    }

    #[test]
    fn lists_and_clears_what_is_pinned() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path().join("gw"));
        pins.create().unwrap();
        for pin in [
            pins.xdp_link("eth0.7"),
            pins.guard_link(Hook::Egress, "a_b"),
            pins.guard_link(Hook::Ingress, "a_b"),
            pins.map("FLOWS"),
        ] {
            File::create(pin).unwrap();
        }
        std::fs::create_dir(pins.namespace_mark(7)).unwrap();
        std::fs::create_dir(root.path().join("gw/v0")).unwrap();
        assert_eq!(pins.namespace().unwrap(), Some(7));
        assert_eq!(pins.attached().unwrap(), ["eth0.7"]);
        assert_eq!(pins.guarded().unwrap(), ["a_b"]);
        assert_eq!(pins.other_versions().unwrap(), [root.path().join("gw/v0")]);
        clear(pins.dir(), Keep::Guards).unwrap();
        assert!(pins.guard_link(Hook::Egress, "a_b").exists() && !pins.has_map("FLOWS"));
        pins.remove_all().unwrap();
        assert!(!root.path().join("gw").exists());
    }

    #[test]
    fn two_owners_are_refused() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path());
        let _first = pins.lock().unwrap();
        assert!(matches!(pins.lock(), Err(Error::InUse { .. })));
    }

    /// An earlier natgw left the directory open to everybody, and so to whoever wants to keep natgw from starting.
    #[test]
    fn the_directory_is_shut_to_others_unless_somebody_else_keeps_things_there() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let open =
            |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        let pins = Pins::new(root.path().join("gw"));
        pins.create().unwrap();
        assert_eq!((mode(&pins.root), mode(pins.dir())), (0o700, 0o700));
        open(&pins.root);
        open(pins.dir());
        drop(pins.lock().unwrap());
        pins.create().unwrap();
        assert_eq!((mode(&pins.root), mode(pins.dir())), (0o700, 0o700));

        std::fs::create_dir(pins.root.join("others")).unwrap();
        open(&pins.root);
        drop(pins.lock().unwrap());
        assert_eq!(mode(&pins.root), 0o755);
    }

    #[test]
    fn a_directory_that_others_could_have_filled_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path().join("gw"));
        pins.create().unwrap();
        std::fs::set_permissions(pins.dir(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let error = pins.create().unwrap_err().to_string();
        assert!(error.contains("can be written by others") && error.contains("/gw/v"), "{error}");
        std::fs::remove_dir(pins.dir()).unwrap();
        std::os::unix::fs::symlink("/etc", pins.dir()).unwrap();
        let error = pins.create().unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }

    #[test]
    fn what_somebody_else_put_among_the_pins_is_named_and_keeps_nothing_else_up() {
        let root = tempfile::tempdir().unwrap();
        let pins = Pins::new(root.path().join("gw"));
        pins.create().unwrap();
        std::fs::create_dir_all(pins.map("FLOWS").join("inner")).unwrap();
        for pin in [pins.map("EIPS"), pins.guard_link(Hook::Egress, "eth0")] {
            File::create(pin).unwrap();
        }
        assert_eq!(pins.foreign().unwrap(), Some(pins.map("FLOWS")));
        let error = pins.remove_all().unwrap_err().to_string();
        assert!(error.contains("/FLOWS is not natgw's"), "{error}");
        assert_eq!(names(pins.dir()).unwrap(), ["FLOWS"]);
    }
}
