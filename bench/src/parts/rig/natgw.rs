//! natgw as the rig runs it: the real program, with the real daemon beside it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nat_tests::lab::Netns;
use nat_tests::lab::session::Session;
use serde_json::Value;

use super::addresses::EIP;
use super::traffic::MAX_FLOWS;

/// A running natgw; killed when dropped. What it leaves goes with its session.
pub struct Natgw {
    binary: PathBuf,
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    places: [PathBuf; 2],
}

impl Natgw {
    /// Starts it in `ns` and waits until it says `ready`.
    pub fn start(binary: &Path, ns: &Netns, session: &Session, inside: &str, outside: &str) -> Result<Self> {
        let config = format!(
            "max_flows = {MAX_FLOWS}\nxdp = \"native\"\n[interfaces]\ninside = [\"{inside}\"]\noutside = [\"{outside}\"]\n\
             [[pool]]\nname = \"default\"\neips = [\"{EIP}\"]\nsources = [\"10.0.0.0/8\"]\nports = \"1024-65535\"\n\
             [timeouts]\nudp = \"12h\"\nudp_unreplied = \"12h\"\n"
        );
        let path = session.dir().join("natgw.toml");
        std::fs::write(&path, config).with_context(|| format!("write {}", path.display()))?;
        let places = [session.dir().join("state"), session.bpffs()?.join("natgw")];
        let mut child = command(binary, ns, &places)
            .arg("run")
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {}; `cargo xtask build` makes it", binary.display()))?;
        let log = Arc::new(Mutex::new(Vec::new()));
        if let Some(stderr) = child.stderr.take() {
            let log = Arc::clone(&log);
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                    log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
                }
            });
        }
        let mut natgw = Self { binary: binary.to_owned(), child, log, places };
        natgw.wait_until_ready()?;
        Ok(natgw)
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).join("\n");
            if log.split(|c: char| !c.is_alphanumeric()).any(|word| word == "ready") {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("natgw ended with {status} instead of getting ready:\n{log}");
            }
            if Instant::now() > deadline {
                bail!("natgw is not ready after 20 s:\n{log}");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Flows in its table, by `natgw flows --count`.
    pub fn flows(&self, ns: &Netns) -> Result<u64> {
        let text = self.say(ns, &["flows", "--count"])?;
        text.trim().parse().with_context(|| format!("`natgw flows --count` says: {text}"))
    }

    /// Packets dropped so far, by reason; reasons without any are left out.
    pub fn drops(&self, ns: &Netns) -> Result<BTreeMap<String, u64>> {
        let text = self.say(ns, &["stats", "--json"])?;
        let stats: Value = serde_json::from_str(&text).with_context(|| format!("not JSON: {text}"))?;
        let drops = stats["drops"].as_object().context("`natgw stats --json` has no drops")?;
        let counted = drops.iter().filter_map(|(reason, n)| Some((reason.clone(), n.as_u64()?)));
        Ok(counted.filter(|(_, n)| *n != 0).collect())
    }

    fn say(&self, ns: &Netns, args: &[&str]) -> Result<String> {
        let output = command(&self.binary, ns, &self.places).args(args).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            bail!("natgw {args:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }
}

impl Drop for Natgw {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(binary: &Path, ns: &Netns, [state, bpffs]: &[PathBuf; 2]) -> Command {
    let mut command = ns.command(binary);
    command.arg("--state-dir").arg(state).arg("--bpffs").arg(bpffs);
    command
}
