//! A gateway written back as a configuration file: what `natgw check` prints.

use std::fmt::Write as _;

use nat_common::ports::PortSet;
use toml::Value;

use super::duration::render_ms;
use crate::model::gateway::{DesiredEip, Gateway, Pool, SizedBy};
use crate::model::patterns::NamePattern;

/// Valid TOML that means the same gateway on the same host. Comments say what natgw found out itself.
pub fn to_toml(gateway: &Gateway) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    let _ = write(&mut out, gateway);
    out
}

fn write(out: &mut String, gateway: &Gateway) -> std::fmt::Result {
    let Gateway {
        inside,
        outside,
        patterns,
        pools,
        exempt,
        timeouts,
        max_flows,
        max_flows_by,
        xdp,
        rpf,
        answers_per_second,
        announce,
        duplicate_check,
        shared_echo,
        metrics,
    } = gateway;
    writeln!(out, "mode = \"endpoint-dependent\"")?;
    writeln!(out, "filtering = \"address-and-port-dependent\"")?;
    match max_flows_by {
        SizedBy::Operator => writeln!(out, "max_flows = {max_flows}")?,
        // Written down it would bind, and another table could not be adopted.
        SizedBy::Memory => {
            writeln!(out, "# From the memory available; the table of an earlier run keeps its size:")?;
            writeln!(out, "# max_flows = {max_flows}")?;
        }
    }
    writeln!(out, "xdp = \"{}\"", xdp.name())?;
    writeln!(out, "rpf = \"{}\"", rpf.name())?;
    writeln!(out, "answers_per_second = {answers_per_second}")?;
    writeln!(out, "announce = \"{}\"", announce.name())?;
    writeln!(out, "duplicate_check = {duplicate_check}")?;
    writeln!(out, "shared_echo = {shared_echo}")?;
    writeln!(out, "\n[interfaces]")?;
    writeln!(out, "inside = {}", list(written(inside, &patterns.inside)))?;
    writeln!(out, "outside = {}", list(written(outside, &patterns.outside)))?;
    for pool in pools {
        write_pool(out, pool)?;
    }
    write_reserved(out, pools)?;
    writeln!(out, "\n[exempt]\ndestinations = {}", list(exempt))?;
    writeln!(out, "\n[timeouts]")?;
    for (key, ms) in timeouts.named() {
        writeln!(out, "{key} = \"{}\"", render_ms(u64::from(ms)))?;
    }
    if let Some(listen) = metrics {
        writeln!(out, "\n[metrics]\nlisten = \"{listen}\"")?;
    }
    Ok(())
}

/// Names and patterns, without the names that a pattern stands for.
fn written(names: &[String], patterns: &[NamePattern]) -> Vec<String> {
    let named = names.iter().filter(|name| !patterns.iter().any(|p| p.matches(name))).cloned();
    named.chain(patterns.iter().map(ToString::to_string)).collect()
}

fn write_pool(out: &mut String, pool: &Pool) -> std::fmt::Result {
    writeln!(out, "\n[[pool]]\nname = {}", Value::from(pool.name.as_str()))?;
    writeln!(out, "eips = {}", list(eips(pool)))?;
    for name in pool.follows.iter().filter(|name| !has_eip(pool, name)) {
        writeln!(out, "# {name} has no IPv4 address now: it is an EIP as soon as there is one")?;
    }
    for eip in &pool.eips {
        if let Some(comment) = shared(pool, eip) {
            writeln!(out, "# {comment}")?;
        }
    }
    match &pool.outside {
        Some(outside) => writeln!(out, "outside = {}", Value::from(outside.as_str()))?,
        // Found, not written: as a key it would hold for every EIP of the pool.
        None => {
            for eip in &pool.eips {
                if let Some(outside) = &eip.outside {
                    writeln!(out, "# {} belongs to {outside}: it leaves by no other interface", eip.addr)?;
                }
            }
        }
    }
    writeln!(out, "sources = {}", list(&pool.sources))?;
    writeln!(out, "ports = \"{}-{}\"", pool.ports.0, pool.ports.1)
}

/// As they are configured.
fn eips(pool: &Pool) -> Vec<String> {
    let there = pool.eips.iter().map(|e| e.of.clone().unwrap_or_else(|| e.addr.to_string()));
    there.chain(pool.follows.iter().filter(|name| !has_eip(pool, name)).cloned()).collect()
}

fn has_eip(pool: &Pool, interface: &str) -> bool {
    pool.eips.iter().any(|e| e.of.as_deref() == Some(interface))
}

fn write_reserved(out: &mut String, pools: &[Pool]) -> std::fmt::Result {
    let eips = pools.iter().flat_map(|p| &p.eips).filter(|e| !e.reserved.is_empty());
    let entries: Vec<String> = eips.map(|e| format!("\"{}\" = {}", e.addr, list(&e.reserved))).collect();
    if entries.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n[reserved]\nports = {{ {} }}", entries.join(", "))
}

/// What sharing an EIP with the host means for its ports.
fn shared(pool: &Pool, eip: &DesiredEip) -> Option<String> {
    let (first, last) = eip.host_ports?;
    let left = PortSet::new(pool.ports.0, pool.ports.1, eip.host_ports).map_or(0, |p| p.count);
    Some(format!(
        "{} is shared: it is {}; the host keeps its ephemeral ports {first}-{last}, NAT has {left}",
        eip.addr,
        match &eip.of {
            Some(name) => format!("the address of {name} now, which natgw follows"),
            None => "this host's own address".to_owned(),
        }
    ))
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    Value::Array(items.into_iter().map(|i| Value::String(i.to_string())).collect()).to_string()
}
