//! What the host looks like: read once, before anything is validated against it or changed.

use std::{collections::BTreeSet, fs, net::Ipv4Addr};

use super::error::Error;
use super::{addresses, links, netlink::Netlink, routes};

pub use super::addresses::Address;
pub use super::links::Link;

/// Interfaces, addresses and limits of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Interfaces.
    pub links: Vec<Link>,
    /// IPv4 addresses, with the interface that has them. An EIP that natgw added (in an earlier run, say) is
    /// not among them: it would look like one that is shared with the host.
    pub addresses: Vec<Address>,
    /// Next hops of every IPv4 route.
    pub gateways: BTreeSet<Ipv4Addr>,
    /// `net.ipv4.ip_local_port_range`, both inclusive.
    pub ephemeral: (u16, u16),
    /// RAM available now, in bytes.
    pub memory_available: u64,
}

const PORT_RANGE: &str = "/proc/sys/net/ipv4/ip_local_port_range";
const MEMINFO: &str = "/proc/meminfo";

impl HostFacts {
    /// Reads them, in the network namespace of the calling thread.
    pub async fn read() -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let text = |path: &str| fs::read_to_string(path).map_err(Error::read(path));
        let parse = |path: &str, content: String| Error::Parse { path: path.into(), content };

        let ports = text(PORT_RANGE)?;
        let ephemeral = parse_port_range(&ports).ok_or_else(|| parse(PORT_RANGE, ports))?;
        let meminfo = text(MEMINFO)?;
        let memory_available = parse_memory(&meminfo).ok_or_else(|| parse(MEMINFO, meminfo))?;
        Ok(Self {
            links: links::dump(&netlink).await?,
            addresses: own_addresses(&netlink).await?,
            gateways: routes::all_gateways(&netlink).await?.into_iter().map(|n| n.addr).collect(),
            ephemeral,
            memory_available,
        })
    }

    /// Interfaces and addresses only: what changes while a gateway runs. A table of a million routes is not read for it.
    pub async fn read_interfaces() -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let (links, addresses) = (links::dump(&netlink).await?, own_addresses(&netlink).await?);
        Ok(Self { links, addresses, ..Self::default() })
    }

    /// What [`Self::read_interfaces`] reads, and the ports that the host takes for itself.
    pub async fn read_addresses() -> Result<Self, Error> {
        let ports = fs::read_to_string(PORT_RANGE).map_err(Error::read(PORT_RANGE))?;
        let ephemeral = parse_port_range(&ports)
            .ok_or_else(|| Error::Parse { path: PORT_RANGE.into(), content: ports })?;
        Ok(Self { ephemeral, ..Self::read_interfaces().await? })
    }

    /// The interface called `name`.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|l| l.name == name)
    }

    /// Whether the host itself has `addr`.
    pub fn has_address(&self, addr: Ipv4Addr) -> bool {
        self.addresses.iter().any(|a| a.net.addr() == addr)
    }
}

async fn own_addresses(netlink: &Netlink) -> Result<Vec<Address>, Error> {
    let found = addresses::dump(netlink).await?;
    Ok(found.into_iter().filter(|a| !a.ours).map(|a| a.address).collect())
}

fn parse_port_range(text: &str) -> Option<(u16, u16)> {
    let mut words = text.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(first)), Some(Ok(last))) => Some((first, last)),
        _ => None,
    }
}

/// In bytes.
fn parse_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_files_are_understood() {
        assert_eq!(parse_port_range("32768\t60999\n"), Some((32768, 60999)));
        assert_eq!(parse_port_range("32768\n"), None);
        assert_eq!(parse_memory("MemTotal: 9 kB\nMemAvailable:   1000 kB\n"), Some(1_024_000));
        assert_eq!(parse_memory("MemTotal: 9 kB\n"), None);
    }
}
