//! An unprivileged user of the gateway's own machine.

use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nat_tests::lab::gateway::run_to_end;
use nat_tests::lab::{Gateway, Lab, Options};

use super::{PATIENCE, assert_none};

const NOBODY: u32 = 65_534;

/// A command as `nobody`, without any privilege.
fn as_nobody(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", program]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn can(program: &str, args: &[&str]) -> bool {
    as_nobody(program, args).status().unwrap().success()
}

/// A path and everything below it.
fn below(path: &Path) -> Vec<PathBuf> {
    let mut all = vec![path.to_owned()];
    if path.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            all.extend(below(&entry.unwrap().path()));
        }
    }
    all
}

/// Somebody who wants to hold every lock there is.
struct Holder(Vec<Child>);

impl Holder {
    fn of(paths: &[PathBuf]) -> Self {
        let hold = |path: &PathBuf| {
            as_nobody("flock", &["--no-fork", path.to_str().unwrap(), "sleep", "60"]).spawn().unwrap()
        };
        Self(paths.iter().map(hold).collect())
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Nobody but root reads who talks to whom, or holds a lock that `run` and `detach` need. flock(2) asks for no more
/// than an open file, and a file of mode 0644 opens for anybody.
#[test]
fn an_unprivileged_user_reads_nothing_and_holds_no_lock() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    assert!(can("true", &[]), "setpriv works");
    let mut files = below(gateway.state_dir());
    files.extend(below(gateway.bpffs()));
    let mut may = Vec::new();
    for file in &files {
        let path = file.to_str().unwrap();
        if can("cat", &[path]) || can("ls", &[path]) || can("flock", &["-n", path, "true"]) {
            may.push(format!("nobody may open {path}"));
        }
        // Were the directory above open one day, the file itself would have to be shut.
        let meta = std::fs::symlink_metadata(file).unwrap();
        if meta.permissions().mode() & 0o007 != 0 && file.starts_with(gateway.state_dir()) {
            may.push(format!("{path} has mode {:o}", meta.permissions().mode()));
        }
        assert_eq!(meta.uid(), 0, "{path}");
    }
    assert_none("what an unprivileged user may do", may);
}

/// The same, seen by what it does: while somebody holds whatever he can, `run` and `detach` go through.
#[test]
fn an_unprivileged_user_blocks_neither_run_nor_detach() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options::one_eip().arg("--persist");
    Gateway::start(&lab, &options).unwrap().kill9().unwrap();
    // What a killed gateway leaves is where the next one begins.
    let mut gateway = Gateway::start(&lab, &options).unwrap();
    gateway.kill9().unwrap();
    let mut files = below(gateway.state_dir());
    files.extend(below(gateway.bpffs()));
    let _holders = Holder::of(&files);
    // Long enough for all of them to have had their turn.
    std::thread::sleep(std::time::Duration::from_millis(300));
    Gateway::start(&lab, &options).expect("a start while an unprivileged user holds what he can open");
    gateway.say(&["detach"]).expect("detach while an unprivileged user holds what he can open");
}

fn is_refused(lab: &Lab, state: &Path, why: &str) {
    let out = run_to_end(lab, &Options::one_eip()).unwrap();
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert_eq!(out.status.code(), Some(1), "{why} is refused: {said}");
    assert!(said.contains(state.to_str().unwrap()), "the message names the directory: {said}");
    assert!(!lab.gw().output("ip", &["link"]).unwrap().contains("xdp"), "nothing was touched");
}

/// A state directory that leads elsewhere would have root write where somebody else wants it.
#[test]
fn a_state_directory_that_is_a_symlink_is_refused() {
    let lab = Lab::two_armed(1).unwrap();
    let (state, target) = (lab.dir().join("state-natgw"), lab.dir().join("target"));
    std::fs::create_dir(&target).unwrap();
    symlink(&target, &state).unwrap();
    is_refused(&lab, &state, "a symlink");
    assert!(std::fs::read_dir(&target).unwrap().next().is_none(), "nothing was written there");
}

/// One that belongs to somebody else is his to change under natgw's feet.
#[test]
fn a_state_directory_of_somebody_else_is_refused() {
    let lab = Lab::two_armed(1).unwrap();
    let state = lab.dir().join("state-natgw");
    std::fs::create_dir(&state).unwrap();
    chown(&state, Some(NOBODY), Some(NOBODY)).unwrap();
    is_refused(&lab, &state, "somebody else's directory");
}

/// Requests that never end do not keep others from asking.
#[test]
fn half_sent_requests_do_not_shut_out_a_scrape() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = Gateway::start(&lab, &Options::one_eip().arg("--metrics").arg("127.0.0.1:9464")).unwrap();
    let half_sent = || {
        let mut stream = std::net::TcpStream::connect("127.0.0.1:9464").unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n").unwrap();
        stream
    };
    let _held: Vec<_> = lab.gw().run(|| (0..100).map(|_| half_sent()).collect());
    let curl =
        || lab.gw().output("curl", &["-sS", "--fail", "--max-time", "2", "http://127.0.0.1:9464/metrics"]);
    let deadline = Instant::now() + PATIENCE / 2;
    let mut said = curl();
    while said.is_err() && Instant::now() < deadline {
        said = curl();
    }
    assert!(said.expect("a scrape").contains("natgw_"), "metrics");
}
