//! The state directory as its users see it, and as others may have left it.

use std::os::unix::fs::PermissionsExt;

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
fn a_list_is_no_state() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    for text in ["[]", " [\"0.1.0\"]\n"] {
        fs::write(dir.path().join("state.json"), text).unwrap();
        let error = state.read().unwrap_err();
        assert!(matches!(error, Error::StateForged { .. }), "{text}: {error}");
    }
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
    assert_eq!(state.holder().unwrap(), Some(std::process::id()));
    fs::remove_file(dir.path().join("lock")).unwrap();
    drop(held);
    assert_eq!(state.holder().unwrap(), None);
    drop(state.try_lock().unwrap());
    assert_eq!(state.holder().unwrap(), None, "what is written is that of who held it");
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

/// Everything that may be read or changed by others, below `dir` and itself.
fn open_to_others(dir: &Path) -> Vec<String> {
    let mode = |p: &Path| fs::symlink_metadata(p).unwrap().permissions().mode() & 0o777;
    let mut found: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    found.push(dir.to_owned());
    found.sort();
    found.iter().filter(|p| mode(p) & 0o077 != 0).map(|p| format!("{} {:o}", p.display(), mode(p))).collect()
}

/// Runs `work` as an unprivileged user in a process of its own; whether it could do it.
fn as_nobody(work: impl Fn() -> bool) -> bool {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, Gid, Uid, fork, setgid, setgroups, setuid};
    const NOBODY: u32 = 65_534;
    assert!(nix::unistd::geteuid().is_root(), "this test plays another user: run it as root");
    // SAFETY: the child only makes system calls, on paths that exist already, and leaves by `_exit`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Parent { child } => matches!(waitpid(child, None).unwrap(), WaitStatus::Exited(_, 1)),
        ForkResult::Child => {
            let changed = setgroups(&[])
                .and_then(|()| setgid(Gid::from_raw(NOBODY)))
                .and_then(|()| setuid(Uid::from_raw(NOBODY)));
            let status = changed.map_or(2, |()| i32::from(work()));
            // SAFETY: no destructor of the parent's may run here.
            unsafe { libc::_exit(status) }
        }
    }
}

/// A place that everybody may enter, as /run is.
fn public() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// What an unprivileged user does to keep natgw from starting and stopping.
fn can_lock(path: &Path) -> bool {
    use nix::fcntl::{Flock, FlockArg};
    File::open(path).is_ok_and(|f| Flock::lock(f, FlockArg::LockExclusiveNonblock).is_ok())
}

#[test]
fn nobody_else_reads_or_locks_what_natgw_made() {
    let public = public();
    let path = public.path().join("a/b");
    let mut state = StateDir::open(&path).unwrap();
    let lock = state.try_lock().unwrap();
    state.update(|_| ()).unwrap();
    drop(lock);
    assert_eq!(open_to_others(&path), [""; 0]);
    assert_eq!(open_to_others(&public.path().join("a")), [""; 0]);
    for file in [path.join("lock"), path.join("state.json"), path.clone()] {
        assert!(!as_nobody(|| File::open(&file).is_ok()), "{} can be read", file.display());
        assert!(!as_nobody(|| can_lock(&file)), "{} can be locked", file.display());
    }
    state.try_lock().unwrap();
}

#[test]
fn a_directory_of_somebody_elses_making_stays_and_the_files_in_it_are_natgws_alone() {
    let public = public();
    let mut state = StateDir::open(public.path()).unwrap();
    let _lock = state.try_lock().unwrap();
    state.update(|_| ()).unwrap();
    let expected = [format!("{} 755", public.path().display())];
    assert_eq!(open_to_others(public.path()), expected);
    assert!(!as_nobody(|| can_lock(&public.path().join("lock"))));
}

#[test]
fn what_an_earlier_natgw_left_readable_is_tightened() {
    let public = public();
    let path = public.path().join("state");
    let mut state = StateDir::open(&path).unwrap();
    let lock = state.try_lock().unwrap();
    state.update(|s| s.persist = true).unwrap();
    drop((lock, state));
    for (name, mode) in [("lock", 0o644), ("state.json", 0o644), ("", 0o755)] {
        fs::set_permissions(path.join(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    assert!(as_nobody(|| can_lock(&path.join("lock"))), "as it was");
    let mut state = StateDir::open(&path).unwrap();
    assert_eq!(open_to_others(&path), [""; 0]);
    assert!(!as_nobody(|| can_lock(&path.join("lock"))));
    assert!(state.read().unwrap().unwrap().persist, "and it is still that state");
    state.try_lock().unwrap();
}

/// What the error says; nothing may have been made at `untouched`.
fn refusal(path: &Path, untouched: &Path) -> String {
    let before = fs::read_dir(untouched).unwrap().count();
    let error = StateDir::open(path).and_then(|mut s| s.try_lock().map(drop)).unwrap_err().to_string();
    assert_eq!(fs::read_dir(untouched).unwrap().count(), before, "{error}");
    assert!(error.contains(path.to_str().unwrap()), "{error}");
    error
}

#[test]
fn a_directory_that_others_could_have_prepared_is_refused() {
    use std::os::unix::fs::{chown, symlink};
    let public = public();
    let (target, link) = (public.path().join("target"), public.path().join("link"));
    fs::create_dir(&target).unwrap();
    symlink(&target, &link).unwrap();
    assert!(refusal(&link, &target).contains("symbolic link"));
    let dangling = public.path().join("dangling");
    symlink(public.path().join("nothing"), &dangling).unwrap();
    assert!(refusal(&dangling, &target).contains("symbolic link"));
    assert!(!public.path().join("nothing").exists());
    let file = public.path().join("file");
    File::create(&file).unwrap();
    assert!(refusal(&file, &target).contains("not a directory"));
    fs::set_permissions(&target, fs::Permissions::from_mode(0o1777)).unwrap();
    let error = refusal(&target, &target);
    assert!(error.contains("written by others") && error.contains("chmod 700"), "{error}");
    fs::set_permissions(&target, fs::Permissions::from_mode(0o700)).unwrap();
    chown(&target, Some(65_534), None).unwrap();
    assert!(refusal(&target, &target).contains("belongs to user 65534"));
}

#[test]
fn what_was_planted_in_place_of_a_file_is_not_followed() {
    use std::os::unix::fs::{chown, symlink};
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    let make = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        fs::write(&victim, "precious").unwrap();
        path
    };
    let intact = || fs::read_to_string(&victim).unwrap() == "precious";

    let path = make("lock");
    symlink(&victim, path.join("lock")).unwrap();
    let error = StateDir::open(&path).unwrap().try_lock().unwrap_err().to_string();
    assert!(error.contains("lock") && error.contains("symbolic link") && intact(), "{error}");

    let path = make("state");
    symlink(&victim, path.join("state.json")).unwrap();
    let error = StateDir::open(&path).unwrap().read().unwrap_err().to_string();
    assert!(error.contains("state.json") && error.contains("symbolic link") && intact(), "{error}");

    let path = make("new");
    symlink(&victim, path.join("state.json.new")).unwrap();
    StateDir::open(&path).unwrap().update(|_| ()).unwrap();
    assert!(intact(), "written through a link");

    let path = make("foreign");
    StateDir::open(&path).unwrap().update(|_| ()).unwrap();
    chown(path.join("state.json"), Some(65_534), None).unwrap();
    let error = StateDir::open(&path).unwrap().read().unwrap_err().to_string();
    assert!(error.contains("state.json belongs to user 65534"), "{error}");

    let path = make("pipe");
    nix::unistd::mkfifo(&path.join("state.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = StateDir::open(&path).unwrap().read().unwrap_err().to_string();
    assert!(error.contains("is not a file"), "{error}");
}

/// A state of this boot and namespace with one field replaced.
fn forged(dir: &Path, field: &str, value: serde_json::Value) -> Result<Option<RunState>, Error> {
    let state = StateDir::open(dir).unwrap();
    let mut good = serde_json::to_value(RunState::here().unwrap()).unwrap();
    good["managed"] = serde_json::json!(["ng0"]);
    good[field] = value;
    fs::write(dir.join("state.json"), good.to_string()).unwrap();
    state.read()
}

#[test]
fn a_state_that_natgw_never_wrote_is_refused_by_name() {
    use serde_json::json;
    let dir = tempfile::tempdir().unwrap();
    let sysctl = |interface: &str, key: &str, original: &str| json!([{ "interface": interface, "ifindex": 1, "key": key, "original": original, "applied": "1" }]);
    let address =
        |addr: &str, interface: &str| json!([{ "addr": addr, "interface": interface, "ifindex": 1 }]);
    let offload = |interface: &str| json!([{ "interface": interface, "ifindex": 1 }]);
    let interface =
        |name: &str| json!([{ "name": name, "ifindex": 1, "side": "inside", "xdp_mode": "native" }]);
    let above = dir.path().join("../..");
    for (field, value, words) in [
        ("sysctls", sysctl("../../kernel", "forwarding", "0"), "is no interface"),
        ("sysctls", sysctl("all", "forwarding", "0"), "is no interface"),
        ("sysctls", sysctl("", "forwarding", "0"), "is no interface"),
        ("sysctls", sysctl("eth9", "forwarding", "0"), "eth9 was never managed"),
        ("sysctls", sysctl("ng0", "../../../../kernel/core_pattern", "0"), "no sysctl of natgw's"),
        ("sysctls", sysctl("ng0", "route_localnet", "1"), "no sysctl of natgw's"),
        ("sysctls", sysctl("ng0", "rp_filter", "|/tmp/x"), "no value of rp_filter"),
        ("offloads", offload("../x"), "is no interface"),
        ("offloads", offload("eth9"), "never managed"),
        ("addresses", address("127.0.0.1", "ng0"), "cannot be an EIP"),
        ("addresses", address("192.0.2.1", "eth9"), "never managed"),
        ("interfaces", interface("a/b"), "is no interface"),
        ("managed", json!(["a b"]), "is no interface"),
        ("directories", json!(["/etc"]), "did not make /etc"),
        ("directories", json!(["/"]), "did not make /"),
        ("directories", json!([dir.path().join("inner")]), "did not make"),
        ("directories", json!([above]), "did not make"),
        ("bpffs", json!("../etc"), "no place for pins"),
        ("bpffs", json!("/sys/fs/bpf/../../kernel"), "no place for pins"),
        ("pid", json!(u32::MAX), "no process"),
    ] {
        let error = forged(dir.path(), field, value).unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::StateForged { .. }), "{field}: {text}");
        assert!(text.contains("state.json") && text.contains(words), "{field}: {text}");
    }
    assert!(forged(dir.path(), "sysctls", sysctl("ng0", "rp_filter", "0")).unwrap().is_some());
    assert!(forged(dir.path(), "directories", json!([dir.path()])).unwrap().is_some());
}

#[test]
fn a_state_of_another_form_is_refused_without_reading_it_all() {
    use serde_json::json;
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    for (field, value) in [
        ("sysctls", json!("all")),
        ("eips", json!(["not an address"])),
        ("pid", json!(-1)),
        ("interfaces", json!([{ "name": 7 }])),
        ("directories", json!({})),
    ] {
        assert!(matches!(forged(dir.path(), field, value), Err(Error::StateCorrupt { .. })), "{field}");
    }
    for text in ["", "7", "null", "\u{0}", &"[".repeat(100_000)] {
        fs::write(dir.path().join("state.json"), text).unwrap();
        assert!(matches!(state.read(), Err(Error::StateCorrupt { .. })), "{text:.9}");
    }
    // A file without blocks that would be a gigabyte in memory.
    File::create(dir.path().join("state.json")).unwrap().set_len(1 << 30).unwrap();
    assert!(state.read().unwrap_err().to_string().contains("bytes"));
}

#[test]
fn what_would_be_refused_later_is_not_recorded() {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::open(dir.path()).unwrap();
    let sysctl = SavedSysctl {
        interface: "ng0".into(),
        ifindex: 1,
        key: "no_such".into(),
        original: "0".into(),
        applied: "1".into(),
        all: String::new(),
    };
    assert!(state.update(|s| s.sysctls.push(sysctl)).is_err());
    assert_eq!(state.read().unwrap(), None);
}
