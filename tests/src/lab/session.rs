//! What a lab leaves on the machine, and that it goes away: after a normal end, a panic, Ctrl-C, and kill -9.
//!
//! A session is a directory `/run/natgw-lab/<id>`, locked while its owner lives, and namespaces
//! `<id>-<node>`. Three things remove it, all by the same id: `Drop`; the signal handler; and, when the
//! owner is gone without either, a shell that waits for the end of the owner's pipe. What survives even
//! that (a reset machine keeps nothing; a killed shell does) is swept by the next session.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::netns::{self, Netns};
use super::signals;

const ROOT: &str = "/run/natgw-lab";

/// Ids of this process's sessions, for the signal handler.
static LIVE: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// The machine-wide belongings of one lab.
#[derive(Debug)]
pub struct Session {
    id: String,
    dir: PathBuf,
    _lock: Flock<File>,
    undertaker: Child,
}

impl Session {
    /// Sweeps the leftovers of dead owners, then opens a session with an id that no other has.
    pub fn open() -> Result<Self> {
        signals::clean_up_on_termination(teardown_all);
        raise_file_limit();
        fs::create_dir_all(ROOT).with_context(|| format!("create {ROOT} (this needs root)"))?;
        let gate = lock(&Path::new(ROOT).join(".gate"), FlockArg::LockExclusive)?;
        sweep();
        let id = fresh_id();
        let dir = Path::new(ROOT).join(&id);
        fs::create_dir(&dir)?;
        let own = lock(&dir.join("lock"), FlockArg::LockExclusiveNonblock)?;
        drop(gate);
        live().insert(id.clone());
        let undertaker = undertaker(&id)?;
        Ok(Self { id, dir, _lock: own, undertaker })
    }

    /// Prefix of the namespaces' names.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// A directory for logs, sockets and state, gone with the session.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the namespace `<id>-<node>`.
    pub fn namespace(&self, node: &str) -> Result<Netns> {
        Netns::create(&format!("{}-{node}", self.id))
    }

    /// A BPF file system at `<dir>/bpf`, the session's own.
    pub fn bpffs(&self) -> Result<PathBuf> {
        let path = self.dir.join("bpf");
        if !path.exists() {
            fs::create_dir(&path)?;
            nix::mount::mount(Some("bpf"), &path, Some("bpf"), nix::mount::MsFlags::empty(), None::<&str>)
                .with_context(|| format!("mount a bpffs at {}", path.display()))?;
        }
        Ok(path)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        teardown(&self.id);
        live().remove(&self.id);
        if let Some(mut stdin) = self.undertaker.stdin.take() {
            // An undertaker that is already gone has nothing left to do.
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.undertaker.wait();
    }
}

/// Removes every session of this process.
pub(super) fn teardown_all() {
    for id in live().iter() {
        teardown(id);
    }
}

/// Removes the session's processes, namespaces, pins and directory. Safe to repeat.
fn teardown(id: &str) {
    let names = namespaces_of(id);
    for name in &names {
        for pid in netns::processes_in(name) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
    let deadline = Instant::now() + Duration::from_secs(2);
    while names.iter().any(|n| !netns::processes_in(n).is_empty()) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(5));
    }
    let dir = Path::new(ROOT).join(id);
    // Pins go with the last mount of their file system, and with the pins the attached programs.
    while nix::mount::umount2(&dir.join("bpf"), nix::mount::MntFlags::MNT_DETACH).is_ok() {}
    for name in names {
        let _ = netns::check("ip", Command::new("ip").args(["netns", "del", &name]));
    }
    let _ = fs::remove_dir_all(dir);
}

/// Tears down sessions whose owner no longer holds the lock.
fn sweep() {
    for entry in fs::read_dir(ROOT).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && lock(&entry.path().join("lock"), FlockArg::LockExclusiveNonblock).is_ok()
        {
            teardown(&name);
        }
    }
}

fn namespaces_of(id: &str) -> Vec<String> {
    let prefix = format!("{id}-");
    let all = fs::read_dir(netns::DIRECTORY).into_iter().flatten().flatten();
    all.filter_map(|e| e.file_name().into_string().ok()).filter(|n| n.starts_with(&prefix)).collect()
}

fn lock(path: &Path, how: FlockArg) -> Result<Flock<File>> {
    let file = File::options().create(true).truncate(false).write(true).open(path)?;
    Flock::lock(file, how).map_err(|(_, e)| e).with_context(|| format!("lock {}", path.display()))
}

/// `ng`, the process id in base 36, and a letter or more for the how-manieth lab of the process.
fn fresh_id() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let digits = |mut n: u32, alphabet: &[u8]| {
        let mut out = Vec::new();
        let base = u32::try_from(alphabet.len()).unwrap_or(1);
        loop {
            out.insert(0, alphabet[(n % base) as usize]);
            n /= base;
            if n == 0 {
                return String::from_utf8_lossy(&out).into_owned();
            }
        }
    };
    loop {
        let pid = digits(std::process::id(), b"0123456789abcdefghijklmnopqrstuvwxyz");
        let lab = digits(NEXT.fetch_add(1, Ordering::Relaxed), b"abcdefghijklmnopqrstuvwxyz");
        let id = format!("ng{pid}{lab}");
        if !Path::new(ROOT).join(&id).exists() {
            return id;
        }
    }
}

/// A shell that outlives its owner by a moment: told `done`, it exits; at the end of the pipe, it cleans up.
fn undertaker(id: &str) -> Result<Child> {
    let script = r#"
        read -r word && exit 0
        for ns in /run/netns/"$1"-*; do
            [ -e "$ns" ] || continue
            ip netns pids "${ns##*/}" | xargs -r kill -9
        done
        while umount -l "$2/$1/bpf" 2>/dev/null; do :; done
        for ns in /run/netns/"$1"-*; do
            [ -e "$ns" ] && ip netns del "${ns##*/}"
        done
        rm -rf "$2/$1"
    "#;
    Command::new("sh")
        .args(["-c", script, "natgw-lab-undertaker", id, ROOT])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // Out of reach of the terminal's Ctrl-C.
        .process_group(0)
        .spawn()
        .context("start sh")
}

/// Thousands of connections need both their ends in this process.
fn raise_file_limit() {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls take a pointer to a local rlimit that outlives them.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            let _ = libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn live() -> std::sync::MutexGuard<'static, BTreeSet<String>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}
