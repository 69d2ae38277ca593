//! The BPF system calls that aya has no function for.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicU64};

const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_LINK_GET_FD_BY_ID: libc::c_int = 30;
const BPF_LINK_DETACH: libc::c_int = 34;

/// `struct { ... } batch` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct BatchAttr {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The anonymous struct of `union bpf_attr` that `BPF_MAP_*_ELEM` use.
#[repr(C)]
#[derive(Default)]
struct ElemAttr {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// The anonymous struct of `union bpf_attr` that `BPF_OBJ_GET` uses.
#[repr(C)]
#[derive(Default)]
struct ObjAttr {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// `struct { ... } info` of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct InfoAttr {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The head of `struct bpf_link_info`; the words after `prog_id` depend on the type. For XDP and TCX the
/// first of them is the ifindex, 0 when the interface is gone.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    pad: u32,
    pub(super) ifindex: u32,
    rest: [u32; 11],
}

impl LinkInfo {
    /// The number of the program in the link.
    pub(super) fn program(&self) -> u32 {
        self.prog_id
    }

    /// The index of the interface that an XDP or TCX link is on (`enum bpf_link_type`); 0 for one that is gone, and for
    /// links of other types, whose words mean something else.
    pub(super) fn interface(&self) -> u32 {
        const XDP: u32 = 6;
        const TCX: u32 = 11;
        if matches!(self.kind, XDP | TCX) { self.ifindex } else { 0 }
    }
}

/// One call of `bpf(2)`, restarted when interrupted.
fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    loop {
        // SAFETY: `attr` is a live struct of exactly the given size, laid out as the prefix of union
        // bpf_attr that `command` reads; the callers keep what its pointers point to alive.
        let result =
            unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attr), size_of::<T>()) };
        if result >= 0 {
            return Ok(result);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EINTR) {
            return Err(error);
        }
    }
}

fn address<T>(pointer: *const T) -> u64 {
    pointer.expose_provenance() as u64
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    // Descriptors are never negative.
    fd.as_raw_fd().unsigned_abs()
}

/// Opens what is pinned at `path`.
pub(super) fn object_get(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut attr = ObjAttr { pathname: address(path.as_ptr()), ..ObjAttr::default() };
    let fd = bpf(BPF_OBJ_GET, &mut attr)?;
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// What a descriptor that [`object_get`] returned is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Map,
    Program,
    Link,
}

/// The kernel fills in what the caller asks for without a look at whether it is of that kind; this tells.
pub(super) fn kind(object: impl AsFd) -> io::Result<Kind> {
    let name = std::fs::read_link(format!("/proc/self/fd/{}", object.as_fd().as_raw_fd()))?;
    let name = name.to_string_lossy();
    // "anon_inode:bpf-map" and so on: kernel/bpf/syscall.c, callers of anon_inode_getfd and anon_inode_getfile.
    if name.contains("bpf-map") {
        Ok(Kind::Map)
    } else if name.contains("bpf-prog") {
        Ok(Kind::Program)
    } else if name.contains("link") {
        Ok(Kind::Link)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, format!("an object of an unknown kind: {name}")))
    }
}

/// What the kernel knows of a link.
pub(super) fn link_info(link: impl AsFd) -> io::Result<LinkInfo> {
    let mut info = LinkInfo::default();
    let mut attr = InfoAttr {
        bpf_fd: raw(link.as_fd()),
        info_len: u32::try_from(size_of::<LinkInfo>()).map_err(io::Error::other)?,
        info: address(std::ptr::from_mut(&mut info)),
    };
    bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)?;
    Ok(info)
}

/// What the kernel knows of the link with a number. Needs `CAP_SYS_ADMIN`.
pub(super) fn link_by_id(id: u32) -> io::Result<LinkInfo> {
    /// The anonymous struct of `union bpf_attr` that `BPF_*_GET_FD_BY_ID` use.
    #[repr(C)]
    #[derive(Default)]
    struct IdAttr {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let fd = bpf(BPF_LINK_GET_FD_BY_ID, &mut IdAttr { id, ..IdAttr::default() })?;
    let fd = libc::c_int::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just gave us this descriptor; nobody else owns it.
    link_info(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches a link now. Merely unpinning it detaches some time later, from a kernel worker.
pub(super) fn link_detach(link: impl AsFd) -> io::Result<()> {
    /// The anonymous struct `link_detach` of `union bpf_attr`.
    #[repr(C)]
    struct DetachAttr {
        link_fd: u32,
    }
    bpf(BPF_LINK_DETACH, &mut DetachAttr { link_fd: raw(link.as_fd()) }).map(|_| ())
}

/// Deletes one element. `Ok(false)`: there was none.
pub(super) fn delete<K: bytemuck::Pod>(map: impl AsFd, key: &K) -> io::Result<bool> {
    let mut attr =
        ElemAttr { map_fd: raw(map.as_fd()), key: address(std::ptr::from_ref(key)), ..ElemAttr::default() };
    match bpf(BPF_MAP_DELETE_ELEM, &mut attr) {
        Ok(_) => Ok(true),
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(e) => Err(e),
    }
}

/// What one batch lookup filled in.
pub(super) struct Looked {
    /// Elements now at the front of the buffers.
    pub(super) count: usize,
    /// Whether the map has no more.
    pub(super) end: bool,
}

/// Fills `keys` and `values` with the elements that follow the position `cursor` (`None`: the start), and
/// moves the cursor. The caller vouches that `K` and `V` have the map's key and value sizes.
pub(super) fn lookup_batch<K: bytemuck::Pod, V: bytemuck::Pod>(
    map: impl AsFd,
    cursor: &mut Option<u64>,
    keys: &mut [K],
    values: &mut [V],
) -> io::Result<Looked> {
    let room = keys.len().min(values.len());
    let mut next = 0u64;
    let mut attr = BatchAttr {
        in_batch: cursor.as_ref().map_or(0, |c| address(std::ptr::from_ref(c))),
        out_batch: address(std::ptr::from_mut(&mut next)),
        keys: address(keys.as_mut_ptr()),
        values: address(values.as_mut_ptr()),
        count: u32::try_from(room).map_err(io::Error::other)?,
        map_fd: raw(map.as_fd()),
        ..BatchAttr::default()
    };
    let end = match bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) {
        Ok(_) => false,
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => true,
        Err(e) => return Err(e),
    };
    *cursor = Some(next);
    Ok(Looked { count: (attr.count as usize).min(room), end })
}

/// Bytes of a page.
pub(super) fn page_size() -> usize {
    // SAFETY: no pointers. This name has a value on every Linux.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// Part of a map, mapped into this process.
pub(super) struct Memory {
    base: std::ptr::NonNull<libc::c_void>,
    bytes: usize,
}

impl Memory {
    /// Maps `bytes` from `offset` on, both multiples of the page size.
    pub(super) fn map(map: impl AsFd, offset: usize, bytes: usize, writable: bool) -> io::Result<Self> {
        let protection = if writable { libc::PROT_READ | libc::PROT_WRITE } else { libc::PROT_READ };
        let offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
        let fd = map.as_fd().as_raw_fd();
        // SAFETY: a new mapping, at an address of the kernel's choice.
        let base =
            unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, libc::MAP_SHARED, fd, offset) };
        match std::ptr::NonNull::new(base) {
            Some(base) if base.as_ptr() != libc::MAP_FAILED => Ok(Self { base, bytes }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// All of it. Only a writable mapping may be stored to.
    pub(super) fn words(&self) -> &[AtomicU64] {
        // SAFETY: mapped for as long as `self`, page-aligned, and shared with writers that know only whole words.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.bytes / size_of::<u64>()) }
    }

    /// The same in smaller words.
    pub(super) fn half_words(&self) -> &[AtomicU32] {
        // SAFETY: as in `words`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().cast(), self.bytes / size_of::<u32>()) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: mapped by `map`, and no reference outlives `self`.
        unsafe { libc::munmap(self.base.as_ptr(), self.bytes) };
    }
}

/// The errno at the bottom of an error, if there is one.
pub(super) fn errno(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(e) = cause {
        if let Some(code) = e.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(code);
        }
        if let Some(code) = e.downcast_ref::<aya::sys::SyscallError>().and_then(|s| s.io_error.raw_os_error())
        {
            return Some(code);
        }
        cause = e.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::offset_of;

    /// `union bpf_attr`, include/uapi/linux/bpf.h.
    #[test]
    fn layouts() {
        assert_eq!((offset_of!(BatchAttr, count), size_of::<BatchAttr>()), (32, 56));
        assert_eq!((offset_of!(ElemAttr, key), size_of::<ElemAttr>()), (8, 32));
        assert_eq!((offset_of!(InfoAttr, info), size_of::<InfoAttr>()), (8, 16));
        assert_eq!(offset_of!(LinkInfo, ifindex), 16);
    }
}
