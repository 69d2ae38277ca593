//! nftables as natgw's opponent.

use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Netns;

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
