//! Mount namespaces: finding the one around ours, and carrying a mount from it into ours.

use std::{
    ffi::{CStr, CString},
    fs::{self, File},
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::{Path, PathBuf},
    thread,
};

use nix::sched::{CloneFlags, setns, unshare};

const OWN: &str = "/proc/thread-self/ns/mnt";

/// The mount namespace that a private one, such as `ip netns exec` makes, was split off from: pid 1's; where pid 1
/// may not be looked at, that of the nearest ancestor which has another one, or of the kernel's threads (which is
/// pid 1's to begin with). `None`: ours is not private.
pub(super) fn outer() -> Option<File> {
    let own = identity(&File::open(OWN).ok()?)?;
    let of = |pid: u32| File::open(format!("/proc/{pid}/ns/mnt"));
    if let Ok(namespace) = of(1) {
        return (identity(&namespace)? != own).then_some(namespace);
    }
    let mut pid = std::os::unix::process::parent_id();
    while pid > 1 {
        if let Ok(namespace) = of(pid)
            && identity(&namespace)? != own
        {
            return Some(namespace);
        }
        pid = parent(pid)?;
    }
    // Every ancestor has exited, or shares our namespace.
    let is_kthreadd = fs::read_to_string("/proc/2/comm").is_ok_and(|comm| comm.trim() == "kthreadd");
    let namespace = of(2).ok().filter(|_| is_kthreadd)?;
    (identity(&namespace)? != own).then_some(namespace)
}

fn identity(namespace: &File) -> Option<(u64, u64)> {
    let metadata = namespace.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

fn parent(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|l| l.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// Runs `work` in another mount namespace, on a thread of its own, so that nothing else of the process moves there.
pub(super) fn within<T: Send>(
    namespace: &File,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // A thread that shares root and working directory with others may not change its mount namespace.
            unshare(CloneFlags::CLONE_FS)?;
            setns(namespace, CloneFlags::CLONE_NEWNS)?;
            work()
        });
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread in the other namespace panicked")))
    })
}

/// A copy of the mount at `path` that is attached nowhere yet.
pub(super) fn copy(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC;
    // SAFETY: `path` is a NUL-terminated string that lives across the call.
    let fd = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    match i32::try_from(fd) {
        // SAFETY: the kernel just returned it, nobody else owns it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Attaches what [`copy`] returned.
pub(super) fn attach(mount: &OwnedFd, at: &Path) -> io::Result<()> {
    const MOVE_MOUNT_F_EMPTY_PATH: libc::c_uint = 4;
    let at = CString::new(at.as_os_str().as_bytes())?;
    let empty: &CStr = c"";
    // SAFETY: both strings are NUL-terminated and live across the call; the descriptor is open.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            empty.as_ptr(),
            libc::AT_FDCWD,
            at.as_ptr(),
            MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A line of mountinfo.
pub(super) struct Mount {
    pub(super) at: PathBuf,
    pub(super) filesystem: String,
    pub(super) source: String,
}

/// The mounts of the calling thread's namespace, in the order they were made.
pub(super) fn list() -> io::Result<Vec<Mount>> {
    Ok(fs::read_to_string("/proc/thread-self/mountinfo")?.lines().filter_map(parse).collect())
}

fn parse(line: &str) -> Option<Mount> {
    let (first, second) = line.split_once(" - ")?;
    let mut words = second.split(' ');
    Some(Mount {
        // The kernel escapes a blank in a path; such a mount point is never one that natgw recognises as its own.
        at: first.split(' ').nth(4)?.into(),
        filesystem: words.next()?.to_owned(),
        source: words.next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_is_understood() {
        let mount = parse("31 23 0:28 / /run/ng rw,nosuid shared:7 - bpf natgw rw,mode=700").unwrap();
        assert_eq!(
            (mount.at.to_str(), &*mount.filesystem, &*mount.source),
            (Some("/run/ng"), "bpf", "natgw")
        );
    }
}
