//! Where pins live: a bpffs that outlasts this process and that every other process can see.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::statfs::{BPF_FS_MAGIC, statfs},
};

use super::error::Error;
use super::{mounts, private};

const USUAL: &str = "/sys/fs/bpf";
/// Source of a mount that natgw made at a place of the operator's choice; that is how it is recognised later.
const OURS: &str = "natgw";
/// What some kernels put into every new bpffs.
const PRELOADED: [&str; 2] = ["maps.debug", "progs.debug"];

/// Makes sure that `path` is on a bpffs, mounting one when there is none, and returns its absolute form. The
/// directory itself is not created.
///
/// In a private mount namespace (`ip netns exec` makes one, with an empty /sys/fs/bpf) a bpffs of its own would
/// vanish with the last process in it. The one of the namespace around it is shown at the same place instead.
pub fn resolve(path: &Path) -> Result<PathBuf, Error> {
    let path = std::path::absolute(path).map_err(Error::read(path))?;
    if root(&path).is_some() {
        return Ok(path);
    }
    let at = mount_point(&path);
    let failed = |at: &Path| {
        let at = at.to_owned();
        move |source| Error::Bpffs { at, source }
    };
    let Some(outer) = mounts::outer() else {
        mount_at(at).map_err(failed(at))?;
        return Ok(path);
    };
    let (root_there, copy) = mounts::within(&outer, || {
        if root(&path).is_none() {
            mount_at(at)?;
        }
        let root = root(&path).ok_or_else(|| io::Error::other("the bpffs just mounted is not there"))?;
        mounts::copy(&root).map(|copy| (root, copy))
    })
    .map_err(failed(at))?;
    // What was mounted around us may have come through to us.
    if root(&path).is_none() {
        let show = || {
            private::make(&root_there).map_err(io::Error::other)?;
            mounts::attach(&copy, &root_there)
        };
        show().map_err(failed(&root_there))?;
    }
    Ok(path)
}

/// For a clean exit: unmounts the bpffs that [`resolve`] mounted at a place other than /sys/fs/bpf, once nothing is
/// in it. `path` is what [`resolve`] returned.
pub fn unmount_if_ours(path: &Path) -> Result<(), Error> {
    let at = mount_point(path);
    if at == Path::new(USUAL) {
        return Ok(());
    }
    let failed = |source| Error::Bpffs { at: at.to_owned(), source };
    unmount(at).map_err(failed)?;
    match mounts::outer() {
        Some(outer) => mounts::within(&outer, || unmount(at)).map_err(failed),
        None => Ok(()),
    }
}

/// Where to mount a bpffs for `path`.
fn mount_point(path: &Path) -> &Path {
    if path.starts_with(USUAL) { Path::new(USUAL) } else { path }
}

/// The root of the bpffs that `path` is on, or would be once created.
fn root(path: &Path) -> Option<PathBuf> {
    let nearest = path.ancestors().find(|a| a.exists())?;
    let on_bpffs = |p: &&Path| statfs(*p).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC);
    nearest.ancestors().take_while(on_bpffs).last().map(Path::to_owned)
}

fn mount_at(at: &Path) -> io::Result<()> {
    let source = if at == Path::new(USUAL) { "bpf" } else { OURS };
    if at != Path::new(USUAL) {
        private::directory(at).map_err(io::Error::other)?;
        if fs::read_dir(at)?.next().is_some() {
            return Err(io::Error::other("there is something in this directory, which mounting would hide"));
        }
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some(source), at, Some("bpf"), flags, Some("mode=0700"))?)
}

fn unmount(at: &Path) -> io::Result<()> {
    let ours = mounts::list()?.into_iter().any(|m| m.at == at && m.filesystem == "bpf" && m.source == OURS);
    if !ours {
        return Ok(());
    }
    for entry in fs::read_dir(at)? {
        if !PRELOADED.iter().any(|name| entry.as_ref().is_ok_and(|e| e.file_name() == *name)) {
            return Ok(());
        }
    }
    umount2(at, MntFlags::empty())?;
    Ok(())
}
