//! Where natgw stands while it is measured: the lab, with somebody inside who opens flows and nobody outside who
//! answers.

use anyhow::{Context as _, Result, ensure};
use aya::EbpfLoader;
use aya::programs::xdp::{Xdp, XdpMode};
use nat_tests::lab::{Gateway, Lab, Options, WAN, eip};

use crate::births::{Births, Order, Population};
use crate::context::Context;

/// The CPU that sends, and on which natgw's program therefore runs.
const CPU: u32 = 1;

/// Frames as short as Ethernet has them, without the checksum.
const FRAME: usize = 60;

/// Network behind the gateway. Every address of it is behind the one host that answers ARP.
const INSIDE: [u8; 4] = [10, 9, 0, 1];

/// Where natgw stands.
#[derive(Debug)]
pub struct Stand {
    /// The namespaces.
    pub lab: Lab,
    _receiver: aya::Ebpf,
}

impl Stand {
    /// Builds the lab. What leaves the gateway is dropped by an XDP program at the other end.
    pub fn new(context: &Context) -> Result<Self> {
        let lab = Lab::two_armed(1)?;
        let gw = lab.gw();
        // The router's program drops its ARP answers, too.
        let router = mac(&lab, "wan", "gw0")?;
        gw.ip(&format!("neigh replace {WAN} lladdr {router} dev out0 nud permanent"))?;
        gw.ip("neigh replace 10.0.0.10 lladdr 02:00:00:00:00:0a dev in0 nud permanent")?;
        gw.ip("route add 10.9.0.0/16 via 10.0.0.10")?;
        let mut receiver = EbpfLoader::new()
            .load_file(&context.bench_object)
            .with_context(|| format!("load {}", context.bench_object.display()))?;
        let drop: &mut Xdp =
            receiver.program_mut("bench_empty").context("no program bench_empty")?.try_into()?;
        drop.load()?;
        lab.node("wan").run(|| drop.attach("gw0", XdpMode::Driver)).context("attach the receiver")?;
        Ok(Self { lab, _receiver: receiver })
    }

    /// How natgw is started for a table of `max_flows`. Unanswered UDP flows, which all are, live for an hour; all other
    /// timeouts, which the collector's interval depends on, are the default ones.
    pub fn options(max_flows: Option<u32>) -> Options {
        Self::with_timeouts(max_flows, "")
    }

    /// The same, with further lines under `[timeouts]`.
    pub fn with_timeouts(max_flows: Option<u32>, timeouts: &str) -> Options {
        let size = max_flows.map_or_else(String::new, |n| format!("max_flows = {n}\n"));
        let config = format!(
            "{size}[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n[[pool]]\nname = \"default\"\n\
             eips = [\"{}\"]\nsources = [\"10.0.0.0/8\"]\n[timeouts]\nudp_unreplied = \"1h\"\n\
             {timeouts}[metrics]\nlisten = \"{METRICS}\"\n",
            eip(0)
        );
        Options { config: Some(config), extra: vec!["--log-level=debug".to_owned()], ..Options::default() }
    }

    /// A sender of up to `flows` flows. 1,024 destinations: no more than a tenth of the ports towards each is taken.
    pub fn births(&self, context: &Context, flows: u32) -> Result<Births<'_>> {
        let population = Population {
            flows,
            sources: (INSIDE.into(), 64),
            destinations: ([198, 18, 0, 1].into(), 1024),
            sport: 20_000,
            dport: 53,
            macs: (octets(&mac(&self.lab, "gw", "in0")?)?, [2, 0, 0, 0, 0, 0x0a]),
            length: FRAME,
        };
        Births::new(&context.bench_object, self.lab.node("lan"), "gw", CPU, population)
    }
}

/// Where natgw serves metrics, in its namespace.
pub const METRICS: &str = "127.0.0.1:9464";

/// Sends until the table holds the flows with the numbers below `to`; those below `from` are there.
pub fn fill(gateway: &Gateway<'_>, births: &mut Births<'_>, from: u32, to: u32) -> Result<()> {
    births.send(Order::Sequential, from, to - from)?;
    complete(gateway, births, from, to)
}

/// Sends again what was lost because a ring was full for a moment. Flows that exist take no harm.
pub fn complete(gateway: &Gateway<'_>, births: &mut Births<'_>, from: u32, to: u32) -> Result<()> {
    for _ in 0..3 {
        if flows(gateway)? == u64::from(to) {
            return Ok(());
        }
        births.send(Order::Sequential, from, to - from)?;
    }
    let found = flows(gateway)?;
    ensure!(found == u64::from(to), "{found} flows instead of {to}: {}", gateway.say(&["stats"])?);
    Ok(())
}

/// Flows in the table, as natgw counts them.
pub fn flows(gateway: &Gateway<'_>) -> Result<u64> {
    Ok(gateway.stats()?["flows"]["udp"].as_u64().unwrap_or(0))
}

fn mac(lab: &Lab, node: &str, device: &str) -> Result<String> {
    let text = lab.node(node).output("ip", &["-o", "link", "show", "dev", device])?;
    let mac = text.split_once("link/ether ").and_then(|(_, rest)| rest.split(' ').next());
    Ok(mac.with_context(|| format!("no address in: {text}"))?.to_owned())
}

fn octets(mac: &str) -> Result<[u8; 6]> {
    let parts: Vec<u8> = mac.split(':').map(|p| u8::from_str_radix(p, 16)).collect::<Result<_, _>>()?;
    parts.try_into().map_err(|_| anyhow::anyhow!("{mac} is no Ethernet address"))
}
