//! natgw as the rig runs it: the real program, with the real daemon beside it.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use nat_tests::lab::gateway::{Gateway, Options, Place};
use nat_tests::lab::netns::Netns;
use nat_tests::lab::session::Session;

use super::addresses::EIP;
use super::traffic::MAX_FLOWS;

/// Starts it in `ns` and waits until it says `ready`. What it leaves goes with its session.
pub fn start<'ns>(ns: &'ns Netns, session: &Session, inside: &str, outside: &str) -> Result<Gateway<'ns>> {
    let config = format!(
        "max_flows = {MAX_FLOWS}\nxdp = \"native\"\n[interfaces]\ninside = [\"{inside}\"]\noutside = [\"{outside}\"]\n\
         [[pool]]\nname = \"default\"\neips = [\"{EIP}\"]\nsources = [\"10.0.0.0/8\"]\nports = \"1024-65535\"\n\
         [timeouts]\nudp = \"12h\"\nudp_unreplied = \"12h\"\n"
    );
    let place = Place {
        ns,
        dir: session.dir().to_owned(),
        state: session.dir().join("state"),
        bpffs: session.bpffs()?.join("natgw"),
        inside: Vec::new(),
        outside: Vec::new(),
    };
    Gateway::start_at(&place, &Options { config: Some(config), ..Options::default() })
}

/// Flows in its table, by `natgw flows --count`.
pub fn flows(natgw: &Gateway<'_>) -> Result<u64> {
    let text = natgw.say(&["flows", "--count"])?;
    text.trim().parse().with_context(|| format!("`natgw flows --count` says: {text}"))
}

/// Packets dropped so far, by reason; reasons without any are left out.
pub fn drops(natgw: &Gateway<'_>) -> Result<BTreeMap<String, u64>> {
    let stats = natgw.stats()?;
    let drops = stats["drops"].as_object().context("`natgw stats --json` has no drops")?;
    let counted = drops.iter().filter_map(|(reason, n)| Some((reason.clone(), n.as_u64()?)));
    Ok(counted.filter(|(_, n)| *n != 0).collect())
}
