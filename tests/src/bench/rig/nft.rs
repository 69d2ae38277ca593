//! nftables as natgw's opponent, tuned for the flows that it has to carry.

use std::fs;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use super::traffic::MAX_FLOWS;
use crate::lab::Netns;

/// Masquerade, and a filter on the state of connections: what natgw does by itself.
pub struct Ruleset<'a> {
    /// Inside interface.
    pub inside: &'a str,
    /// Outside interface.
    pub outside: &'a str,
}

impl Ruleset<'_> {
    /// Loads it, and sets up conntrack so that nothing expires and nothing is checked that a NIC checks.
    pub fn apply(&self, ns: &Netns) -> Result<()> {
        let Self { inside, outside } = self;
        let rules = format!(
            "table ip nat {{
                chain postrouting {{
                    type nat hook postrouting priority srcnat; policy accept;
                    oif \"{outside}\" masquerade
                }}
            }}
            table ip filter {{
                chain forward {{
                    type filter hook forward priority filter; policy drop;
                    ct state established,related accept
                    iif \"{inside}\" ct state new accept
                }}
            }}"
        );
        let mut child = ns
            .command("nft")
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .spawn()
            .context("start nft (package nftables)")?;
        child.stdin.take().context("nft's stdin")?.write_all(rules.as_bytes())?;
        ensure!(child.wait()?.success(), "nft refuses the ruleset:\n{rules}");
        for key in ["udp_timeout", "udp_timeout_stream"] {
            ns.sysctl(&format!("net.netfilter.nf_conntrack_{key}"), "43200")?;
        }
        ns.sysctl("net.netfilter.nf_conntrack_checksum", "0")
    }
}

/// Connections that conntrack holds in the namespace.
pub fn connections(ns: &Netns) -> Result<u64> {
    Ok(ns.read_sysctl("net.netfilter.nf_conntrack_count")?.parse()?)
}

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// Conntrack's machine-wide limits, raised for a while.
pub struct Limits {
    keeper: Child,
}

impl Limits {
    /// Raises them to what [`MAX_FLOWS`] needs: room for twice as many, and as many buckets as entries.
    ///
    /// A shell that waits for the end of its input puts them back, whatever becomes of this process.
    pub fn raise() -> Result<Self> {
        let read = |path: &str| -> Result<u64> {
            let text =
                fs::read_to_string(path).with_context(|| format!("read {path} (is nf_conntrack loaded?)"))?;
            text.trim().parse().with_context(|| path.to_owned())
        };
        let (max, buckets) = (read(MAX)?, read(BUCKETS)?);
        let script = format!("read -r nothing; echo {buckets} > {BUCKETS}; echo {max} > {MAX}");
        let keeper = Command::new("sh")
            .args(["-c", &script, "natgw-bench-conntrack"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Out of reach of the terminal's Ctrl-C.
            .process_group(0)
            .spawn()
            .context("start sh")?;
        let limits = Self { keeper };
        let wanted = u64::from(2 * MAX_FLOWS);
        for (path, value) in [(BUCKETS, buckets), (MAX, max)] {
            if value < wanted {
                fs::write(path, wanted.to_string()).with_context(|| format!("write {wanted} to {path}"))?;
            }
        }
        Ok(limits)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}
