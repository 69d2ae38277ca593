//! Holds a configuration against the host: every refusal that needs to know more than the text.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use nat_common::Addr;
use nat_common::abi::MAX_FLOWS;
use nat_common::eip::{MAX_EIPS, MAX_PREFIXES};
use nat_common::hop::MAX_INTERFACES;
use nat_common::ports::PortSet;
use nat_common::settings::ANSWERS_PER_SECOND;
use nat_common::{FlowEntry, table};

use super::error::{Error, MAX_ANSWERS};
use super::followed::addresses;
use super::interfaces;
use super::origin::{Origin, Sourced};
use super::reserved::exhausted;
use super::sources::{self, Sides};
use super::uplinks::Uplinks;
use super::written::{Config, PoolConfig};
use crate::host::facts::HostFacts;
use crate::model::gateway::{DesiredEip, Gateway, Pool, SizedBy};
use crate::model::patterns::Patterns;
use crate::model::ports::ReservedPorts;

/// Bytes of kernel memory that a flow's two entries take, locked at start.
const BYTES_PER_FLOW: u64 = (size_of::<FlowEntry>() as u64) * table::SLOTS_PER_FLOW as u64;

/// The least that a table is sized to when nobody asks for less.
const MIN_DEFAULT_FLOWS: u64 = 1024;

/// Two entries a flow, counted in 32 bits.
const MOST_FLOWS: u64 = table::MOST_FLOWS as u64;

impl Config {
    /// What this configuration means on a host with these `facts`.
    pub fn resolve(&self, facts: &HostFacts) -> Result<Gateway, Error> {
        let inside = interfaces::found("inside", &self.inside, facts, self.xdp)?;
        let outside = interfaces::found("outside", &self.outside, facts, self.xdp)?;
        interfaces::refuse_both_sides(&self.inside, &self.outside, facts)?;
        let patterns = Patterns { inside: inside.patterns, outside: outside.patterns };
        let (inside, outside) = (inside.names, outside.names);
        let eips = self.eips(facts)?;
        refuse_eips_of_others(&eips, &outside, facts)?;
        let sides = Sides { inside: &inside, outside: &outside };
        let addresses: Vec<Ipv4Addr> = eips.iter().flatten().map(|e| e.value).collect();
        let prefixes = self.sources(facts, &sides, &addresses)?;
        refuse_eips_inside(&eips, &prefixes)?;
        refuse_too_many("source", prefixes.iter().map(Vec::len).sum())?;
        let exempt = sources::aggregate(self.exempt.iter().map(|p| p.0).collect());
        refuse_too_many("exempt", exempt.len())?;
        let reserved = self.reserved(&addresses)?;
        let followed = self.followed(facts)?;
        let of = |addr| followed.iter().find(|(_, a)| *a == Some(addr)).map(|(name, _)| name.clone());
        let mut pools = Vec::new();
        let uplinks = Uplinks::new(&outside, facts);
        for ((pool, eips), sources) in self.pools.iter().zip(&eips).zip(prefixes) {
            let link = uplinks.of_pool(pool)?;
            let mut desired = Vec::new();
            for eip in eips {
                let outside = uplinks.of_eip(link.as_deref(), eip.value);
                let eip = desired_eip(pool, eip.value, reserved.get(&eip.value), facts)?;
                desired.push(DesiredEip { of: of(eip.addr), outside, ..eip });
            }
            Uplinks::refuse_too_many(pool, &desired)?;
            pools.push(Pool {
                name: pool.name.clone(),
                follows: pool.follows(),
                outside: link,
                eips: desired,
                sources: sources::aggregate(sources.into_iter().map(|s| s.value).collect()),
                ports: (pool.ports.value.first, pool.ports.value.last),
            });
        }
        let gateway = Gateway {
            pools,
            exempt,
            timeouts: self.timeouts,
            max_flows: flows(self.max_flows.as_ref(), facts.memory_available)?,
            max_flows_by: if self.max_flows.is_some() { SizedBy::Operator } else { SizedBy::Memory },
            xdp: self.xdp,
            rpf: self.rpf,
            answers_per_second: answers(self.answers_per_second.as_ref())?,
            announce: self.announce,
            duplicate_check: self.duplicate_check,
            shared_echo: self.shared_echo,
            metrics: self.metrics,
            inside,
            outside,
            patterns,
        };
        match gateway.interfaces().len() {
            n if n > MAX_INTERFACES as usize => Err(Error::TooManyInterfaces(n)),
            _ => Ok(gateway),
        }
    }

    /// The EIPs of each pool; none twice.
    fn eips(&self, facts: &HostFacts) -> Result<Vec<Vec<Sourced<Ipv4Addr>>>, Error> {
        let mut seen: HashMap<Ipv4Addr, (&PoolConfig, &Origin)> = HashMap::new();
        let mut names: HashMap<&str, &Origin> = HashMap::new();
        let mut all = Vec::new();
        for pool in &self.pools {
            if let Some(other) = names.insert(&pool.name, &pool.at) {
                let (at, pool) = (pool.at.clone(), pool.name.clone());
                return Err(Error::PoolTwice { at, pool, other: other.clone() });
            }
            let mut eips = Vec::new();
            for range in &pool.eips {
                for eip in addresses(&range.value, facts) {
                    let at = range.at.clone();
                    if Addr::from(eip).is_never_translated() {
                        return Err(Error::EipUnusable { at, eip });
                    }
                    if let Some((first, other)) = seen.insert(eip, (pool, &range.at)) {
                        return Err(Error::EipTwice {
                            at,
                            eip,
                            pool: first.name.clone(),
                            other: other.clone(),
                        });
                    }
                    eips.push(Sourced { value: eip, at });
                }
            }
            all.push(eips);
        }
        if self.pools.iter().all(|p| p.eips.is_empty()) {
            return Err(Error::NoEip);
        }
        if seen.len() > MAX_EIPS as usize {
            return Err(Error::TooManyEips(seen.len()));
        }
        if let Some(pool) = self.pools.iter().find(|p| p.eips.is_empty()) {
            return Err(Error::EmptyPool { at: pool.at.clone(), pool: pool.name.clone() });
        }
        self.refuse_own_inside_address(&all, facts)?;
        Ok(all)
    }

    /// An address of an interface that is inside only is no EIP, whatever the sources are.
    fn refuse_own_inside_address(
        &self,
        eips: &[Vec<Sourced<Ipv4Addr>>],
        facts: &HostFacts,
    ) -> Result<(), Error> {
        let inside_only = self.inside.iter().filter(|i| !self.outside.iter().any(|o| o.value == i.value));
        let indices: Vec<(&Sourced<String>, u32)> =
            inside_only.filter_map(|i| Some((i, facts.link(&i.value)?.index))).collect();
        for eip in eips.iter().flatten() {
            for address in facts.addresses.iter().filter(|a| a.net.addr() == eip.value) {
                if let Some((interface, _)) = indices.iter().find(|(_, index)| *index == address.index) {
                    return Err(Error::EipInside {
                        at: eip.at.clone(),
                        eip: eip.value,
                        prefix: address.net.trunc(),
                        prefix_at: interface.at.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// The inside prefixes of each pool; no two pools share an address.
    fn sources(
        &self,
        facts: &HostFacts,
        sides: &Sides<'_>,
        eips: &[Ipv4Addr],
    ) -> Result<Vec<Vec<Sourced<Ipv4Net>>>, Error> {
        let mut taken: Vec<(&PoolConfig, Sourced<Ipv4Net>)> = Vec::new();
        let mut all = Vec::new();
        for pool in &self.pools {
            let (at, name) = (pool.at.clone(), pool.name.clone());
            let mine: Vec<Sourced<Ipv4Net>> = if pool.sources.is_empty() {
                if self.pools.len() > 1 {
                    return Err(Error::NoSources { at, pool: name });
                }
                let found = sources::default_sources(facts, sides, eips);
                if found.is_empty() {
                    return Err(Error::NoDefaultSources { at, pool: name });
                }
                let origin = Origin::Default("found on the inside interfaces");
                found.into_iter().map(|value| Sourced { value, at: origin.clone() }).collect()
            } else {
                pool.sources.iter().map(|s| Sourced { value: s.value.0, at: s.at.clone() }).collect()
            };
            for source in &mine {
                if let Some((other_pool, other)) =
                    taken.iter().find(|(_, other)| sources::overlap(source.value, other.value))
                {
                    return Err(Error::PoolsOverlap {
                        at: source.at.clone(),
                        prefix: source.value,
                        pool: pool.name.clone(),
                        other: other.value,
                        other_pool: other_pool.name.clone(),
                        other_at: other.at.clone(),
                    });
                }
            }
            taken.extend(mine.iter().map(|s| (pool, s.clone())));
            all.push(mine);
        }
        Ok(all)
    }
}

/// Addresses that cannot be the gateway's on the networks that it is connected to.
fn refuse_eips_of_others(
    eips: &[Vec<Sourced<Ipv4Addr>>],
    outside: &[String],
    facts: &HostFacts,
) -> Result<(), Error> {
    let nets: Vec<(&String, Ipv4Net)> = outside
        .iter()
        .flat_map(|o| sources::connected(facts, o).into_iter().map(move |net| (o, net)))
        // Of two addresses, both are hosts (RFC 3021).
        .filter(|(_, net)| net.prefix_len() < 31)
        .collect();
    for Sourced { value: eip, at } in eips.iter().flatten() {
        let (at, eip) = (at.clone(), *eip);
        if facts.gateways.contains(&eip) {
            return Err(Error::EipIsNextHop { at, eip });
        }
        for (interface, prefix) in &nets {
            let what = match eip {
                e if e == prefix.network() => "network",
                e if e == prefix.broadcast() => "broadcast",
                _ => continue,
            };
            let interface = (*interface).clone();
            return Err(Error::EipOfSubnet { at, eip, what, prefix: *prefix, interface });
        }
    }
    Ok(())
}

fn refuse_eips_inside(
    eips: &[Vec<Sourced<Ipv4Addr>>],
    sources: &[Vec<Sourced<Ipv4Net>>],
) -> Result<(), Error> {
    for eip in eips.iter().flatten() {
        if let Some(source) = sources.iter().flatten().find(|s| s.value.contains(&eip.value)) {
            return Err(Error::EipInside {
                at: eip.at.clone(),
                eip: eip.value,
                prefix: source.value,
                prefix_at: source.at.clone(),
            });
        }
    }
    Ok(())
}

fn refuse_too_many(what: &'static str, count: usize) -> Result<(), Error> {
    if count > MAX_PREFIXES as usize { Err(Error::TooManyPrefixes { count, what }) } else { Ok(()) }
}

/// An EIP, shared with the host when it is the host's own address; at least one port of each protocol must remain.
fn desired_eip(
    pool: &PoolConfig,
    addr: Ipv4Addr,
    reserved: Option<&Sourced<Vec<ReservedPorts>>>,
    facts: &HostFacts,
) -> Result<DesiredEip, Error> {
    let host_ports = facts.has_address(addr).then_some(facts.ephemeral);
    let ports = pool.ports.value;
    let set = PortSet::new(ports.first, ports.last, host_ports);
    if let (None, Some((first, last))) = (set, host_ports) {
        return Err(Error::NoPorts { at: pool.ports.at.clone(), eip: addr, ports, first, last });
    }
    let Some(Sourced { value: reserved, at }) = reserved else {
        return Ok(DesiredEip { addr, host_ports, of: None, outside: None, reserved: Vec::new() });
    };
    if let Some(proto) = set.and_then(|set| exhausted(&set, reserved)) {
        let (at, pool) = (at.clone(), pool.name.clone());
        return Err(Error::ReservedAll { at, eip: addr, pool, ports, proto });
    }
    Ok(DesiredEip { addr, host_ports, of: None, outside: None, reserved: reserved.clone() })
}

/// ICMP errors and RSTs per CPU and second.
fn answers(configured: Option<&Sourced<u64>>) -> Result<u32, Error> {
    let Some(Sourced { value, at }) = configured else { return Ok(ANSWERS_PER_SECOND) };
    match u32::try_from(*value) {
        Ok(n) if n <= MAX_ANSWERS => Ok(n),
        _ => Err(Error::TooManyAnswers { at: at.clone(), value: *value }),
    }
}

/// The size of the flow table: as configured, else a quarter of the memory available, at most a million.
fn flows(configured: Option<&Sourced<u64>>, memory: u64) -> Result<u32, Error> {
    let fits = (memory / BYTES_PER_FLOW).min(MOST_FLOWS);
    let flows = match configured {
        None => (fits / 4).clamp(MIN_DEFAULT_FLOWS, u64::from(MAX_FLOWS)),
        Some(Sourced { value: 0, at }) => return Err(Error::NoFlows { at: at.clone() }),
        Some(Sourced { value, at }) if *value > fits => {
            return Err(Error::NoMemory {
                at: at.clone(),
                flows: *value,
                need: value.saturating_mul(BYTES_PER_FLOW) >> 20,
                have: memory >> 20,
                fits,
            });
        }
        Some(Sourced { value, .. }) => *value,
    };
    Ok(u32::try_from(flows).unwrap_or(table::MOST_FLOWS))
}
