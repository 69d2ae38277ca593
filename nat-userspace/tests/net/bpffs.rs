//! A bpffs that outlasts a private mount namespace. Each test runs again as a child, or a grandchild, in namespaces of
//! its own, which play the host and `ip netns exec` on it: the real host's mounts are never touched.

use std::{
    env,
    ffi::CString,
    fs, io,
    os::unix::{ffi::OsStrExt, fs::PermissionsExt},
    path::Path,
    process::Command,
    ptr,
};

use nat_userspace::host::bpffs;
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use crate::netns::{require_root, sh};

const ROLE: &str = "NATGW_TEST_ROLE";
/// The child is pid 1 of a pid namespace.
const AS_INIT: &str = "unshare --mount --pid --fork --mount-proc --propagation private sh -c";
/// The child may not look at pid 1.
const WITHOUT_INIT: &str = "unshare --mount --propagation private sh -c";
const HIDE_INIT: &str = "mount -t tmpfs none /proc/1 &&";
const PIN: &str = "/sys/fs/bpf/natgw-test/v1/MAP";

/// Runs this test again, as `role`, by a command that ends in `sh -c`.
fn again(test: &str, role: &str, shell: &str, before: &str) {
    let exe = env::current_exe().unwrap();
    let script = format!("{before} exec {} --exact bpffs::{test} --nocapture", exe.display());
    let mut words = shell.split(' ');
    let output =
        Command::new(words.next().unwrap()).args(words).arg(script).env(ROLE, role).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{role}: {text}\n{error}");
}

fn role() -> Option<String> {
    require_root();
    env::var(ROLE).ok()
}

fn is_bpffs(path: &str) -> bool {
    statfs(path).is_ok_and(|s| s.filesystem_type() == BPF_FS_MAGIC)
}

/// Pins a new map, or fails as the kernel says.
fn pin(path: &Path) -> io::Result<()> {
    const BPF_MAP_CREATE: libc::c_long = 0;
    const BPF_OBJ_PIN: libc::c_long = 6;
    fs::create_dir_all(path.parent().unwrap())?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    // An array of one u32.
    let mut create = [0u32; 32];
    create[..4].copy_from_slice(&[2, 4, 4, 1]);
    let bpf = |command: libc::c_long, attributes: *mut u32| {
        // SAFETY: `attributes` is a bpf_attr of 128 bytes, zero beyond what the command uses, and the path that it
        // may point to outlives the call.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, 128) };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
    };
    let map = bpf(BPF_MAP_CREATE, create.as_mut_ptr())?;
    let mut attributes = [0u64; 16];
    attributes[0] = ptr::from_ref(path.to_bytes_with_nul()).cast::<u8>().expose_provenance() as u64;
    attributes[1] = map.cast_unsigned();
    bpf(BPF_OBJ_PIN, attributes.as_mut_ptr().cast())?;
    Ok(())
}

/// What `ip netns exec` shows: a private mount namespace with a fresh, empty /sys.
fn play_host(test: &str) {
    assert!(!is_bpffs("/sys/fs/bpf") || fs::read_dir("/sys/fs/bpf").is_ok());
    let name = format!("ngb{}-{test:.8}", std::process::id());
    sh(&format!("ip netns add {name}"));
    let result =
        std::panic::catch_unwind(|| again(test, "inner", &format!("ip netns exec {name} sh -c"), ""));
    sh(&format!("ip netns del {name}"));
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    assert!(Path::new(PIN).exists(), "the pin is not visible outside");
    // A second process finds the first one's pins.
    bpffs::resolve(Path::new(PIN)).unwrap();
    assert!(Path::new(PIN).exists());
    fs::remove_file(PIN).unwrap();
}

fn play_netns_exec() {
    assert!(!is_bpffs("/sys/fs/bpf"));
    let path = bpffs::resolve(Path::new("/sys/fs/bpf/natgw-test")).unwrap();
    assert_eq!(path, Path::new("/sys/fs/bpf/natgw-test"));
    assert!(is_bpffs("/sys/fs/bpf"));
    pin(Path::new(PIN)).unwrap();
}

/// The "host" starts without a bpffs, whatever the real one has.
const NO_BPFFS: &str = "umount -l /sys && mount -t sysfs sysfs /sys &&";

#[test]
fn pins_of_ip_netns_exec_are_visible_outside() {
    let test = "pins_of_ip_netns_exec_are_visible_outside";
    match role().as_deref() {
        None => again(test, "host", AS_INIT, NO_BPFFS),
        Some("host") => play_host(test),
        _ => play_netns_exec(),
    }
}

#[test]
fn without_a_look_at_init_the_parents_namespace_serves() {
    let test = "without_a_look_at_init_the_parents_namespace_serves";
    match role().as_deref() {
        None => again(test, "host", WITHOUT_INIT, &format!("{NO_BPFFS} {HIDE_INIT}")),
        Some("host") => play_host(test),
        _ => play_netns_exec(),
    }
}

#[test]
fn a_bpffs_of_natgws_own_goes_when_it_is_empty() {
    let test = "a_bpffs_of_natgws_own_goes_when_it_is_empty";
    if role().is_none() {
        return again(test, "host", AS_INIT, NO_BPFFS);
    }
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("pins");
    let path = bpffs::resolve(&at).unwrap();
    assert_eq!(bpffs::resolve(&at).unwrap(), path);
    let mounts = || fs::read_to_string("/proc/self/mounts").unwrap().matches("natgw ").count();
    assert_eq!(mounts(), 1, "mounted once");

    pin(&path.join("v1/MAP")).unwrap();
    bpffs::unmount_if_ours(&path).unwrap();
    assert_eq!(mounts(), 1, "pins are in it");
    fs::remove_file(path.join("v1/MAP")).unwrap();
    fs::remove_dir(path.join("v1")).unwrap();
    bpffs::unmount_if_ours(&path).unwrap();
    assert_eq!(mounts(), 0);

    bpffs::resolve(Path::new("/sys/fs/bpf/natgw")).unwrap();
    assert!(is_bpffs("/sys/fs/bpf"));
    bpffs::unmount_if_ours(Path::new("/sys/fs/bpf/natgw")).unwrap();
    assert!(is_bpffs("/sys/fs/bpf"), "the usual place is the host's");
}

#[test]
fn a_bpffs_of_somebody_else_stays() {
    let test = "a_bpffs_of_somebody_else_stays";
    if role().is_none() {
        return again(test, "host", AS_INIT, NO_BPFFS);
    }
    let dir = tempfile::tempdir().unwrap();
    sh(&format!("mount -t bpf bpf {}", dir.path().display()));
    let path = bpffs::resolve(&dir.path().join("natgw")).unwrap();
    bpffs::unmount_if_ours(&path).unwrap();
    bpffs::unmount_if_ours(dir.path()).unwrap();
    assert!(is_bpffs(dir.path().to_str().unwrap()));
    sh(&format!("umount {}", dir.path().display()));
}

/// `natgw detach` goes where the state directory says; whoever edits that must not make it hide a directory.
#[test]
fn nothing_is_mounted_over_what_is_there_or_through_a_link() {
    let test = "nothing_is_mounted_over_what_is_there_or_through_a_link";
    if role().is_none() {
        return again(test, "host", AS_INIT, NO_BPFFS);
    }
    let dir = tempfile::tempdir().unwrap();
    let (full, link, empty) = (dir.path().join("full"), dir.path().join("link"), dir.path().join("empty"));
    fs::create_dir(&full).unwrap();
    fs::create_dir(&empty).unwrap();
    fs::write(full.join("precious"), "x").unwrap();
    std::os::unix::fs::symlink(&empty, &link).unwrap();
    for (path, words) in [(&full, "mounting would hide"), (&link, "symbolic link")] {
        let error = bpffs::resolve(path).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(error.to_string().contains("cannot mount") && cause.contains(words), "{cause}");
        assert!(!is_bpffs(path.to_str().unwrap()));
    }
    assert!(full.join("precious").exists());
    let made = dir.path().join("new/pins");
    bpffs::resolve(&made).unwrap();
    for path in [made.as_path(), made.parent().unwrap()] {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "{}", path.display());
    }
    sh(&format!("umount {}", made.display()));
}
