//! The flags that describe a gateway: what can be typed instead of a configuration file, or on top of one.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use nat_common::timeouts::Timeouts;

use super::value::{EipSpec, Prefix, Timeout, ValueError};
use crate::model::gateway::{Announce, Profile, RpfChoice, XdpChoice};
use crate::model::ports::Ports;

/// Modes that this version has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// A port serves many flows as long as their remote ends differ.
    EndpointDependent,
}

/// A gateway on the command line. A flag with one value replaces the file's; one that can be repeated adds.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Gateway")]
pub struct GatewayFlags {
    /// Configuration file (TOML); flags come on top of it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Interface towards the clients, or a pattern such as "veth-*"; may be repeated
    #[arg(long, value_name = "IF")]
    pub inside: Vec<String>,
    /// Interface towards the internet, or a pattern; may be repeated; the same as --inside makes a one-armed gateway
    #[arg(long, value_name = "IF")]
    pub outside: Vec<String>,
    /// Elastic IP, a range of them, or an interface whose address is one, whatever it is; added to the first pool; may be
    /// repeated
    #[arg(long, value_name = "ADDR[/LEN]|IF")]
    pub eip: Vec<EipSpec>,
    /// Inside prefix served by the first pool; may be repeated [default: the inside networks and private ranges]
    #[arg(long, value_name = "PREFIX")]
    pub source: Vec<Prefix>,
    /// Destination that is routed, not translated; may be repeated
    #[arg(long, value_name = "PREFIX")]
    pub exempt: Vec<Prefix>,
    /// Ports that the first pool uses [default: 1024-65535]
    #[arg(long, value_name = "FIRST-LAST")]
    pub ports: Option<Ports>,
    /// Flows at the same time, 256 B of locked memory each [default: sized from memory, at most 1000000]
    #[arg(long, value_name = "N")]
    pub max_flows: Option<u64>,
    /// How a port is chosen
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// How to get packets: native XDP where a network card has it and tc elsewhere (auto), or one way everywhere [default: auto]
    #[arg(long, value_enum)]
    pub xdp: Option<XdpChoice>,
    /// Whether the best route to the source of a packet from inside must lead to the interface it came by, any route will
    /// do, or none is needed; a stricter `rp_filter` of the host holds all the same [default: strict]
    #[arg(long, value_enum)]
    pub rpf: Option<RpfChoice>,
    /// ICMP errors and RSTs that natgw itself sends, per CPU; 0: none [default: 1000]
    #[arg(long, value_name = "N")]
    pub answers_per_second: Option<u64>,
    /// Who answers ARP for the EIPs: natgw adds them to the outside interface, or nobody [default: arp]
    #[arg(long, value_enum)]
    pub announce: Option<Announce>,
    /// Whether to ask by ARP if another host has an EIP before natgw takes it; a start is refused then [default: true]
    #[arg(long, value_name = "BOOL")]
    pub duplicate_check: Option<bool>,
    /// Whether pings to an EIP that is the host's own address reach the host [default: true]
    #[arg(long, value_name = "BOOL")]
    pub shared_echo: Option<bool>,
    /// Serve Prometheus metrics at `http://ADDR/metrics`
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Idle timeouts to start from [default: rfc]
    #[arg(long, value_enum)]
    pub profile: Option<Profile>,
    /// One idle timeout, such as udp=5m; may be repeated
    #[arg(long, value_name = "KEY=DURATION", value_parser = timeout)]
    pub timeout: Vec<(&'static str, Timeout)>,
}

fn timeout(text: &str) -> Result<(&'static str, Timeout), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=DURATION, such as udp=5m")?;
    let key = Timeouts::KEYS
        .into_iter()
        .find(|k| *k == key)
        .ok_or_else(|| format!("there is no timeout \"{key}\"; there are {}", Timeouts::KEYS.join(" ")))?;
    value.parse().map(|t| (key, t)).map_err(|e: ValueError| e.to_string())
}
