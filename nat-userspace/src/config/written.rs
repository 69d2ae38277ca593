//! What was written, in the file and on the command line, put together. No host is looked at here.
//!
//! A flag that takes one value replaces the file's value; a flag that can be repeated adds to the file's
//! list. `--eip`, `--source` and `--ports` mean the first pool, which they create when there is none.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use nat_common::hop::Rpf;
use nat_common::timeouts::Timeouts;

use super::error::Error;
use super::file::{self, File, TimeoutTable};
use super::flags::GatewayFlags;
use super::origin::{Origin, Sourced, Text};
use super::value::{EipSpec, Prefix, Timeout};
use crate::model::gateway::{Announce, XdpChoice};
use crate::model::ports::{Ports, ReservedPorts};

/// A configuration that reads well. Whether it makes sense on this host is for [`Config::resolve`] to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Inside interfaces.
    pub inside: Vec<Sourced<String>>,
    /// Outside interfaces.
    pub outside: Vec<Sourced<String>>,
    /// Pools.
    pub pools: Vec<PoolConfig>,
    /// Destinations that are routed, not translated.
    pub exempt: Vec<Prefix>,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Flows; `None`: sized from memory.
    pub max_flows: Option<Sourced<u64>>,
    /// How to attach.
    pub xdp: XdpChoice,
    /// Whether sources must be genuine.
    pub rpf: Rpf,
    /// ICMP errors and RSTs per CPU and second; `None`: the default.
    pub answers_per_second: Option<Sourced<u64>>,
    /// Ports that flows never get, by EIP.
    pub reserved: Vec<(Sourced<Ipv4Addr>, Vec<ReservedPorts>)>,
    /// Who answers ARP for EIPs.
    pub announce: Announce,
    /// Whether other hosts are asked for an EIP before it is taken.
    pub duplicate_check: bool,
    /// Whether pings to a shared EIP reach the host.
    pub shared_echo: bool,
    /// Where metrics are served.
    pub metrics: Option<SocketAddr>,
}

/// A pool as written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolConfig {
    /// Name; `default` when there is none.
    pub name: String,
    /// Where the pool starts.
    pub at: Origin,
    /// EIPs, ranges of EIPs, and interfaces whose address is one.
    pub eips: Vec<Sourced<EipSpec>>,
    /// Inside prefixes; empty: found from the host.
    pub sources: Vec<Sourced<Prefix>>,
    /// Port range.
    pub ports: Sourced<Ports>,
    /// The outside interface that its EIPs belong to; `None`: found from the host.
    pub outside: Option<Sourced<String>>,
}

impl Config {
    /// Reads `path`, if any, and applies `flags` on top.
    pub fn load(path: Option<&Path>, flags: &GatewayFlags) -> Result<Self, Error> {
        let Some(path) = path else { return Self::parse(Path::new(""), "", flags) };
        let text =
            std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text, flags)
    }

    /// As [`Config::load`], of a file that is already read.
    pub fn parse(path: &Path, text: &str, flags: &GatewayFlags) -> Result<Self, Error> {
        let (file, text) = file::parse(path, text)?;
        let File {
            interfaces,
            pool,
            exempt,
            timeouts,
            metrics,
            max_flows,
            xdp,
            rpf,
            answers_per_second,
            reserved,
            announce,
            duplicate_check,
            shared_echo,
            // Values that this version has one of, refused or checked by the reader of the file.
            mode: _,
            filtering: _,
            forward: _,
            limits: _,
            flow_log: _,
        } = file;
        let mut config = Self {
            inside: interfaces.inside.into_iter().map(|i| text.sourced(i)).collect(),
            outside: interfaces.outside.into_iter().map(|i| text.sourced(i)).collect(),
            pools: pool.into_iter().map(|p| PoolConfig::read(p, &text)).collect(),
            exempt: exempt.destinations,
            timeouts: timeouts_of(&timeouts, flags),
            max_flows: flags.max_flows.map(|n| Sourced::flag(n, "--max-flows")),
            xdp: flags.xdp.or(xdp).unwrap_or_default(),
            rpf: flags.rpf.or(rpf).unwrap_or_default().level(),
            answers_per_second: flags.answers_per_second.map(|n| Sourced::flag(n, "--answers-per-second")),
            reserved: reserved.ports.into_iter().map(|(eip, ports)| (text.sourced(eip), ports)).collect(),
            announce: flags.announce.or(announce).unwrap_or_default(),
            duplicate_check: flags.duplicate_check.or(duplicate_check).unwrap_or(true),
            shared_echo: flags.shared_echo.or(shared_echo).unwrap_or(true),
            metrics: flags.metrics.or(metrics.listen),
        };
        if config.max_flows.is_none() {
            config.max_flows = max_flows.map(|n| text.sourced(n));
        }
        if config.answers_per_second.is_none() {
            config.answers_per_second = answers_per_second.map(|n| text.sourced(n));
        }
        config.add(flags);
        Ok(config)
    }

    fn add(&mut self, flags: &GatewayFlags) {
        self.inside.extend(flags.inside.iter().map(|i| Sourced::flag(i.clone(), "--inside")));
        self.outside.extend(flags.outside.iter().map(|i| Sourced::flag(i.clone(), "--outside")));
        self.exempt.extend(&flags.exempt);
        if flags.eip.is_empty() && flags.source.is_empty() && flags.ports.is_none() {
            return;
        }
        if self.pools.is_empty() {
            self.pools.push(PoolConfig::empty("default".to_owned(), Origin::Flag("--eip")));
        }
        let pool = &mut self.pools[0];
        pool.eips.extend(flags.eip.iter().map(|e| Sourced::flag(e.clone(), "--eip")));
        pool.sources.extend(flags.source.iter().map(|s| Sourced::flag(*s, "--source")));
        if let Some(ports) = flags.ports {
            pool.ports = Sourced::flag(ports, "--ports");
        }
    }
}

impl PoolConfig {
    fn empty(name: String, at: Origin) -> Self {
        let ports = Sourced { value: Ports::DEFAULT, at: at.clone() };
        Self { name, at, eips: Vec::new(), sources: Vec::new(), ports, outside: None }
    }

    fn read(pool: toml::Spanned<file::Pool>, text: &Text<'_>) -> Self {
        let at = text.origin(pool.span());
        let pool = pool.into_inner();
        let mut read = Self::empty(pool.name.unwrap_or_else(|| "default".to_owned()), at);
        read.eips = pool.eips.into_iter().map(|e| text.sourced(e)).collect();
        read.sources = pool.sources.into_iter().map(|s| text.sourced(s)).collect();
        read.outside = pool.outside.map(|o| text.sourced(o));
        if let Some(ports) = pool.ports {
            read.ports = text.sourced(ports);
        }
        read
    }
}

fn timeouts_of(table: &TimeoutTable, flags: &GatewayFlags) -> Timeouts {
    let mut timeouts = flags.profile.or(table.profile).unwrap_or_default().timeouts();
    // Flags come after the file.
    for (key, Timeout(ms)) in table.values.iter().chain(flags.timeout.iter().map(|(key, value)| (key, value)))
    {
        if let Some(timeout) = timeouts.by_key(key) {
            *timeout = *ms;
        }
    }
    timeouts
}
