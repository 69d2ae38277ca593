//! A network namespace: created, entered, removed.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result, bail};
use nix::sched::{CloneFlags, setns};

/// Where `ip netns` keeps namespaces.
pub const DIRECTORY: &str = "/run/netns";

/// A named network namespace. Dropping the handle leaves it; [`crate::lab::session`] removes it.
#[derive(Debug)]
pub struct Netns {
    name: String,
    file: File,
}

impl Netns {
    /// Creates the namespace, without IPv6 and with `lo` up.
    pub fn create(name: &str) -> Result<Self> {
        check("ip", Command::new("ip").args(["netns", "add", name]))?;
        let path = Path::new(DIRECTORY).join(name);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let ns = Self { name: name.to_owned(), file };
        // Router solicitations and duplicate address detection would show up on every tap.
        ns.sysctl("net.ipv6.conf.all.disable_ipv6", "1")?;
        ns.sysctl("net.ipv6.conf.default.disable_ipv6", "1")?;
        ns.ip("link set lo up")?;
        Ok(ns)
    }

    /// Its name under [`DIRECTORY`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to give to `nsenter --net=`.
    pub fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.name)
    }

    /// Moves the calling thread into the namespace for the rest of its life.
    pub fn enter(&self) -> Result<()> {
        setns(self.file.as_fd(), CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {}", self.name))
    }

    /// Runs `f` inside, on a thread of its own, and waits for it. A panic of `f` goes on in the caller.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> T {
        thread::scope(|s| {
            let inside = s.spawn(|| match self.enter() {
                Ok(()) => f(),
                Err(e) => panic!("{e:#}"),
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Starts `f` inside on a thread of its own.
    pub fn spawn<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> Result<JoinHandle<T>> {
        let file = self.file.try_clone()?;
        let name = self.name.clone();
        Ok(thread::Builder::new().name(name).spawn(move || {
            if let Err(e) = setns(file.as_fd(), CloneFlags::CLONE_NEWNET) {
                panic!("enter a namespace of the lab: {e}");
            }
            f()
        })?)
    }

    /// A command that runs inside. Only the network namespace changes: `ip netns exec` would remount /sys
    /// and hide the BPF file system.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        if let Ok(file) = self.file.try_clone() {
            // SAFETY: between fork and exec, setns(2) is a plain system call: it neither allocates nor locks.
            unsafe {
                command.pre_exec(move || setns(file.as_fd(), CloneFlags::CLONE_NEWNET).map_err(Into::into));
            }
        }
        command
    }

    /// Runs a program inside and returns its stdout; an error holds its stderr.
    pub fn output(&self, program: &str, args: &[&str]) -> Result<String> {
        check(program, self.command(program).args(args))
    }

    /// Runs lines of `ip` inside, e.g. `link set eth0 up`.
    pub fn ip(&self, script: &str) -> Result<()> {
        let mut child = Command::new("ip")
            .args(["-netns", &self.name, "-batch", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start `ip` (Debian package iproute2)")?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(script.as_bytes())?;
            stdin.write_all(b"\n")?;
        }
        let out = child.wait_with_output()?;
        if !out.status.success() {
            bail!("ip in {}: {}\n{script}", self.name, String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(())
    }

    /// Reads a sysctl of this namespace.
    pub fn read_sysctl(&self, key: &str) -> Result<String> {
        let path = sysctl_path(key);
        self.run(|| fs::read_to_string(&path)).map(|s| s.trim().to_owned()).with_context(|| key.to_owned())
    }

    /// Sets a sysctl of this namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = sysctl_path(key);
        self.run(|| fs::write(&path, value)).with_context(|| format!("{key}={value} in {}", self.name))
    }

    /// A counter of /proc/net/snmp or /proc/net/netstat, e.g. `("Udp", "InCsumErrors")`.
    pub fn counter(&self, group: &str, name: &str) -> Result<u64> {
        let text = self.run(|| {
            let read = |f| fs::read_to_string(format!("/proc/thread-self/net/{f}"));
            Ok::<_, std::io::Error>(read("snmp")? + &read("netstat")?)
        })?;
        let prefix = format!("{group}: ");
        let mut rows = text.lines().filter_map(|l| l.strip_prefix(&prefix));
        let (names, values) = (rows.next().unwrap_or_default(), rows.next().unwrap_or_default());
        names
            .split_whitespace()
            .zip(values.split_whitespace())
            .find_map(|(n, v)| (n == name).then(|| v.parse().ok())?)
            .with_context(|| format!("no counter {group} {name}"))
    }
}

/// Processes whose main thread is in the namespace, this one excepted.
pub fn processes_in(name: &str) -> Vec<i32> {
    let Ok(meta) = fs::metadata(Path::new(DIRECTORY).join(name)) else { return Vec::new() };
    let me = std::process::id().cast_signed();
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != me)
        .filter(|pid| {
            fs::metadata(format!("/proc/{pid}/ns/net"))
                .is_ok_and(|m| m.ino() == meta.ino() && m.dev() == meta.dev())
        })
        .collect()
}

/// Runs a command to its end and returns its stdout; an error names it and holds its stderr.
pub fn check(what: &str, command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| {
        format!("start `{what}`: is it installed? (iproute2, ethtool, curl, iputils-ping)")
    })?;
    if !out.status.success() {
        bail!("{command:?}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn sysctl_path(key: &str) -> String {
    format!("/proc/sys/{}", key.replace('.', "/"))
}
