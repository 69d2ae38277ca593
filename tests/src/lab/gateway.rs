//! natgw as the lab runs it: started in the gateway's namespace, waited for, asked, stopped, killed.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::addr::eip;
use super::netns::Netns;
use super::topology::Topology;
use super::whole::Lab;

/// How to start natgw.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--eip`; none when empty (a configuration file names them).
    pub eips: Vec<String>,
    /// `--inside`; the topology's when `None`.
    pub inside: Option<Vec<String>>,
    /// `--outside`; the topology's when `None`.
    pub outside: Option<Vec<String>>,
    /// Contents of a configuration file: given instead of interface flags.
    pub config: Option<String>,
    /// Further arguments, e.g. `--persist`.
    pub extra: Vec<String>,
    /// Another instance on the same machine: its own state and pins.
    pub instance: Option<String>,
    /// The namespace to run in; `gw` when `None`.
    pub node: Option<String>,
    /// natgw chooses how it gets packets. Otherwise `--xdp` says so, [`xdp`].
    pub auto: bool,
}

/// How natgw is told to get packets, where a test does not care: by native XDP, since the veths of the lab stand for wires.
/// `NATGW_TEST_XDP=tc` runs the same tests another way.
pub fn xdp() -> String {
    std::env::var("NATGW_TEST_XDP").unwrap_or_else(|_| "native".to_owned())
}

/// The same, as `natgw status` says it.
pub fn xdp_in_words() -> String {
    match xdp().as_str() {
        "tc" => "tc".to_owned(),
        xdp => format!("{xdp} XDP"),
    }
}

impl Options {
    /// The first EIP, dedicated.
    pub fn one_eip() -> Self {
        Self::eips(1)
    }

    /// The first `count` EIPs, dedicated.
    pub fn eips(count: u8) -> Self {
        Self { eips: (0..count).map(|n| eip(n).to_string()).collect(), ..Self::default() }
    }

    /// As natgw chooses to get packets.
    #[must_use]
    pub fn auto(self) -> Self {
        Self { auto: true, ..self }
    }

    /// The first EIP, dedicated, of a gateway with several outside interfaces, any of which it leaves by.
    pub fn one_eip_on_any_link(topology: &Topology) -> Self {
        let (inside, outside) = (topology.inside(), topology.outside());
        let config = format!(
            "[interfaces]\ninside = {inside:?}\noutside = {outside:?}\n[[pool]]\neips = [\"{}\"]\noutside = \"any\"\n",
            eip(0)
        );
        Self { config: Some(config), ..Self::default() }
    }

    /// With a further argument.
    #[must_use]
    pub fn arg(mut self, arg: &str) -> Self {
        self.extra.push(arg.to_owned());
        self
    }
}

/// Where a gateway runs and what it leaves.
#[derive(Clone, Debug)]
pub struct Place<'lab> {
    /// Its namespace.
    pub ns: &'lab Netns,
    /// Directory of a configuration file, if there is one.
    pub dir: PathBuf,
    /// Directory of its state.
    pub state: PathBuf,
    /// Directory of its pins.
    pub bpffs: PathBuf,
    /// Its inside interfaces, unless the options name them.
    pub inside: Vec<String>,
    /// Its outside interfaces, unless the options name them.
    pub outside: Vec<String>,
}

/// A running natgw. Dropping it kills the process; the lab's teardown removes what that leaves.
#[derive(Debug)]
pub struct Gateway<'lab> {
    ns: &'lab Netns,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    state: PathBuf,
    bpffs: PathBuf,
    started_in: Duration,
}

impl<'lab> Gateway<'lab> {
    /// Starts natgw and waits until it says `ready`. The error holds its log.
    pub fn start(lab: &'lab Lab, options: &Options) -> Result<Self> {
        Self::start_at(&place(lab, options)?, options)
    }

    /// The same anywhere.
    pub fn start_at(place: &Place<'lab>, options: &Options) -> Result<Self> {
        let begin = Instant::now();
        let mut gateway = Self::launch_at(place, options)?;
        let deadline = begin + Duration::from_secs(20);
        while !gateway.has_logged("ready") {
            if let Some(status) = gateway.child.try_wait()? {
                gateway.settle_log();
                bail!("natgw ended with {status} instead of getting ready:\n{}", gateway.log());
            }
            if Instant::now() > deadline {
                bail!("natgw is not ready after 20 s:\n{}", gateway.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        gateway.started_in = begin.elapsed();
        Ok(gateway)
    }

    /// Starts natgw and does not wait.
    pub fn launch(lab: &'lab Lab, options: &Options) -> Result<Self> {
        Self::launch_at(&place(lab, options)?, options)
    }

    fn launch_at(place: &Place<'lab>, options: &Options) -> Result<Self> {
        let mut command = run_command(place, options)?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}; `cargo xtask build` makes it", natgw_path().display()))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
        let Place { ns, state, bpffs, .. } = place.clone();
        Ok(Self { ns, child, log, state, bpffs, started_in: Duration::ZERO })
    }

    /// How long it took to get ready.
    pub fn started_in(&self) -> Duration {
        self.started_in
    }

    /// The directory of its state.
    pub fn state_dir(&self) -> &Path {
        &self.state
    }

    /// The directory of its pins.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// Whether some line of the log holds this word.
    pub fn has_logged(&self, word: &str) -> bool {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.iter().any(|line| line.split(|c: char| !c.is_alphanumeric()).any(|w| w == word))
    }

    /// Runs a verb against this instance, e.g. `["flows", "--json"]`.
    pub fn verb(&self, args: &[&str]) -> Result<Output> {
        let mut command = self.ns.command(natgw_path());
        command.arg("--state-dir").arg(&self.state).arg("--bpffs").arg(&self.bpffs);
        command.args(args).stdin(Stdio::null());
        command.output().with_context(|| format!("natgw {args:?}"))
    }

    /// Stdout of a verb that must succeed.
    pub fn say(&self, args: &[&str]) -> Result<String> {
        let out = self.verb(args)?;
        if !out.status.success() {
            bail!("natgw {args:?}: {}\n{}", out.status, String::from_utf8_lossy(&out.stderr).trim());
        }
        Ok(String::from_utf8(out.stdout)?)
    }

    /// `natgw flows --json`, with filters.
    pub fn flows(&self, filters: &[&str]) -> Result<Vec<Value>> {
        let text = self.say(&[&["flows", "--json"], filters].concat())?;
        let document: Value = serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?;
        Ok(document["flows"].as_array().cloned().unwrap_or_default())
    }

    /// `natgw stats --json`.
    pub fn stats(&self) -> Result<Value> {
        let text = self.say(&["stats", "--json"])?;
        serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))
    }

    /// A drop counter by its reason.
    pub fn drops(&self, reason: &str) -> Result<u64> {
        Ok(self.stats()?["drops"][reason].as_u64().unwrap_or(0))
    }

    /// SIGTERM, then waits. The exit status, or an error after ten seconds.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(status) = self.child.try_wait()? {
                self.settle_log();
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("natgw ignores SIGTERM:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// SIGKILL, then waits.
    pub fn kill9(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill(Pid::from_raw(i32::try_from(self.child.id())?), signal)?)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The reader thread may lag a moment behind the process's end.
    fn settle_log(&self) {
        let before = || self.log.lock().unwrap_or_else(PoisonError::into_inner).len();
        let mut seen = usize::MAX;
        while seen != before() {
            seen = before();
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Gateway<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stats = self.say(&["stats"]).unwrap_or_else(|e| format!("{e:#}"));
            eprintln!(
                "--- natgw's log ---\n{}\n--- its counters ---\n{stats}-------------------",
                self.log()
            );
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `natgw run` to its end: for starts that must be refused. Killed after five seconds.
pub fn run_to_end(lab: &Lab, options: &Options) -> Result<Output> {
    let mut child = run_command(&place(lab, options)?, options)?
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let deadline = Instant::now() + Duration::from_secs(5);
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(child.wait_with_output()?)
}

/// The binary under test: `$NATGW_BIN`, or the one next to the running executable.
pub fn natgw_path() -> PathBuf {
    if let Some(path) = std::env::var_os("NATGW_BIN") {
        return path.into();
    }
    let exe = std::env::current_exe().unwrap_or_default();
    let here = exe.parent().unwrap_or(Path::new("."));
    let dir = if here.ends_with("deps") { here.parent().unwrap_or(here) } else { here };
    dir.join("natgw")
}

fn place<'lab>(lab: &'lab Lab, options: &Options) -> Result<Place<'lab>> {
    let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let instance = options.instance.as_deref().unwrap_or("natgw");
    Ok(Place {
        ns: lab.node(options.node.as_deref().unwrap_or("gw")),
        dir: lab.dir().to_owned(),
        state: lab.dir().join(format!("state-{instance}")),
        bpffs: lab.bpffs()?.join(instance),
        inside: owned(lab.topology().inside()),
        outside: owned(lab.topology().outside()),
    })
}

fn run_command(place: &Place<'_>, options: &Options) -> Result<Command> {
    let mut command = place.ns.command(natgw_path());
    command.arg("run").arg("--state-dir").arg(&place.state).arg("--bpffs").arg(&place.bpffs);
    if let Some(config) = &options.config {
        let path = place.dir.join(format!("{}.toml", options.instance.as_deref().unwrap_or("natgw")));
        std::fs::write(&path, config)?;
        command.arg("--config").arg(path);
    } else {
        for name in options.inside.as_ref().unwrap_or(&place.inside) {
            command.args(["--inside", name]);
        }
        for name in options.outside.as_ref().unwrap_or(&place.outside) {
            command.args(["--outside", name]);
        }
    }
    for eip in &options.eips {
        command.args(["--eip", eip]);
    }
    if !options.auto && !options.extra.iter().any(|arg| arg.starts_with("--xdp")) {
        command.args(["--xdp", &xdp()]);
    }
    command.args(&options.extra);
    Ok(command)
}
