//! What the host looks like: read once, before anything is validated against it or changed.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

/// Interfaces, addresses and limits of this network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// Interfaces.
    pub links: Vec<Link>,
    /// IPv4 addresses, with the interface that has them.
    pub addresses: Vec<Address>,
    /// `net.ipv4.ip_local_port_range`, both inclusive.
    pub ephemeral: (u16, u16),
    /// RAM available now, in bytes.
    pub memory_available: u64,
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// Index in this namespace.
    pub index: u32,
    /// Ethernet address; zero when it has none.
    pub mac: [u8; 6],
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up.
    pub up: bool,
    /// ARPHRD_ETHER.
    pub ethernet: bool,
}

/// An address on an interface: `net.addr()` is the address, `net.trunc()` the connected prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Interface index.
    pub index: u32,
    /// Address and prefix length.
    pub net: Ipv4Net,
}

impl HostFacts {
    /// The interface called `name`.
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|l| l.name == name)
    }

    /// Whether the host itself has `addr`.
    pub fn has_address(&self, addr: Ipv4Addr) -> bool {
        self.addresses.iter().any(|a| a.net.addr() == addr)
    }
}
