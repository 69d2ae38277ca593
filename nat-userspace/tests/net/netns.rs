//! A private network namespace for one test, with a second one behind a veth pair.

use std::{
    fs,
    future::Future,
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::sched::{CloneFlags, unshare};

/// Runs `test` on a thread of its own in a new network namespace. Nothing of it is left afterwards.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce() -> F + Send) {
    require_root();
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
            sh("ip link set lo up");
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(test());
        });
        if let Err(panic) = thread.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

pub(crate) fn require_root() {
    assert!(nix::unistd::geteuid().is_root(), "this test makes network namespaces: run it as root");
}

/// Runs a command in the calling thread's namespace.
pub(crate) fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn sysctl(interface: &str, key: &str) -> String {
    let path = format!("/proc/sys/net/ipv4/conf/{interface}/{key}");
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}")).trim().to_owned()
}

pub(crate) fn set_sysctl(interface: &str, key: &str, value: &str) {
    fs::write(format!("/proc/sys/net/ipv4/conf/{interface}/{key}"), value).unwrap();
}

pub(crate) fn ifindex(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// A namespace with a name, holding the other end of a veth pair.
pub(crate) struct Peer {
    pub(crate) name: String,
}

impl Peer {
    /// `here` gets `address`, and the other end, `there` in the peer, gets `peer_address`.
    pub(crate) fn new(here: &str, address: &str, there: &str, peer_address: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ngt{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let peer = Self { name };
        let name = &peer.name;
        sh(&format!(
            "ip netns add {name} && ip link add {here} type veth peer name {there} netns {name} \
             && ip addr add {address} dev {here} && ip link set {here} up \
             && ip -n {name} addr add {peer_address} dev {there} && ip -n {name} link set {there} up"
        ));
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// Polls until `check` returns something.
pub(crate) async fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(result) = check() {
            return result;
        }
        assert!(Instant::now() < deadline, "not within 10 s: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) fn state_dir() -> (tempfile::TempDir, nat_userspace::host::state::StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let path: PathBuf = dir.path().join("state");
    let state = nat_userspace::host::state::StateDir::open(path).unwrap();
    (dir, state)
}
