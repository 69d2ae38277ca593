//! One lane: three namespaces, two veths, addresses, routes and static neighbours.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use nat_tests::lab::netns::{Netns, check};
use nat_tests::lab::session::Session;
use nat_tests::lab::{GW_OUTSIDE, eip};

/// Clients with real sockets: 10.0.1.0 and up.
const CLIENTS: u8 = 64;
/// Addresses of the server with real sockets: 198.51.100.1 and up.
const SERVERS: u8 = 16;
/// The gateway's inside address.
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
/// The next hop of everything outside.
const UPSTREAM: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 254);

/// What stands in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// natgw, native XDP.
    Natgw,
    /// nftables: masquerade, and a filter that lets only answers in.
    Nft,
    /// The kernel's IPv4 forwarding: no translation, no connection tracking.
    Kernel,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Natgw, Self::Nft, Self::Kernel];

    /// Words for a table.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Natgw => "natgw",
            Self::Nft => "nft masquerade + ct filter",
            Self::Kernel => "kernel forwarding, no NAT",
        }
    }

    /// Short, as in "natgw's maximum".
    pub const fn possessive(self) -> &'static str {
        match self {
            Self::Natgw => "natgw's",
            Self::Nft => "nft's",
            Self::Kernel => "kernel forwarding's",
        }
    }

    /// A word for identifiers.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Natgw => "natgw",
            Self::Nft => "nft",
            Self::Kernel => "kernel",
        }
    }

    /// The source address that the server must see, and the bits of it that count.
    pub const fn seen_source(self) -> (Ipv4Addr, u32) {
        match self {
            Self::Natgw => (eip(0), u32::MAX),
            Self::Nft => (GW_OUTSIDE, u32::MAX),
            Self::Kernel => (Ipv4Addr::new(10, 0, 0, 0), 0xffff_0000),
        }
    }

    /// Whether the server may see this address as a source.
    pub fn may_be_source(self, seen: SocketAddr) -> bool {
        let (source, mask) = self.seen_source();
        matches!(seen, SocketAddr::V4(seen) if u32::from(*seen.ip()) & mask == u32::from(source))
    }
}

/// The `n`-th client address with real sockets, cyclic.
pub const fn client_of(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, (n % CLIENTS as usize) as u8)
}

/// The `n`-th server address with real sockets, cyclic.
pub const fn server_of(n: usize) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, 1 + (n % SERVERS as usize) as u8)
}

/// Whether the interfaces leave segmentation and checksums to "hardware".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// Packets of at most the MTU, with checksums: what a wire carries.
    Off,
    /// As veths come: packets of 64 kB that nobody ever cuts up.
    On,
}

/// A client's end, a gateway's place, a server's end.
#[derive(Debug)]
pub struct Lane {
    /// What the gateway is.
    pub kind: Kind,
    /// Where clients are.
    pub cli: Netns,
    /// Where the gateway is.
    pub gw: Netns,
    /// Where servers are.
    pub srv: Netns,
}

impl Lane {
    /// Addresses that frames carry: the client's and the gateway's inside interface.
    pub const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x0a];
    /// The gateway's inside interface.
    pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// Builds the namespaces; the gateway's own configuration is not included.
    pub fn build(session: &Session, kind: Kind) -> Result<Self> {
        let node = |name: &str| session.namespace(&format!("{}-{name}", kind.id()));
        let lane = Self { kind, cli: node("cli")?, gw: node("gw")?, srv: node("srv")? };
        lane.wire().with_context(|| format!("build the lane of {}", kind.title()))?;
        Ok(lane)
    }

    fn wire(&self) -> Result<()> {
        self.gw.ip(&format!(
            "link add in0 address 02:00:00:00:00:01 type veth peer name eth0 address 02:00:00:00:00:0a netns {}
link add out0 address 02:00:00:00:00:02 type veth peer name eth0 address 02:00:00:00:00:fe netns {}
link set in0 up\nlink set out0 up",
            self.cli.name(),
            self.srv.name()
        ))?;
        self.cli.ip("link set eth0 up")?;
        self.srv.ip("link set eth0 up")?;
        let mut cli = format!("addr add 10.0.0.2/16 dev eth0\nroute add default via {INSIDE}\n");
        let mut gw = format!(
            "addr add {INSIDE}/16 dev in0\naddr add {GW_OUTSIDE}/24 dev out0\nroute add default via {UPSTREAM}
neigh replace {UPSTREAM} lladdr 02:00:00:00:00:fe nud permanent dev out0
neigh replace 10.0.0.2 lladdr 02:00:00:00:00:0a nud permanent dev in0\n"
        );
        for n in 0..usize::from(CLIENTS) {
            let client = client_of(n);
            writeln!(cli, "addr add {client}/16 dev eth0")?;
            writeln!(gw, "neigh replace {client} lladdr 02:00:00:00:00:0a nud permanent dev in0")?;
        }
        writeln!(cli, "neigh replace {INSIDE} lladdr 02:00:00:00:00:01 nud permanent dev eth0")?;
        let mut srv = format!("addr add {UPSTREAM}/24 dev eth0\nroute add 10.0.0.0/16 via {GW_OUTSIDE}\n");
        for n in 0..usize::from(SERVERS) {
            writeln!(srv, "addr add {}/32 dev eth0", server_of(n))?;
        }
        // What the sender's packets are for, when the receiver lets them through.
        writeln!(srv, "addr add 198.18.0.0/16 dev lo")?;
        for gateway in [GW_OUTSIDE, eip(0)] {
            writeln!(srv, "neigh replace {gateway} lladdr 02:00:00:00:00:02 nud permanent dev eth0")?;
        }
        self.cli.ip(&cli)?;
        self.gw.ip(&gw)?;
        self.srv.ip(&srv)?;
        self.cli.sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        self.srv.sysctl("net.core.somaxconn", "4096")?;
        self.srv.sysctl("net.ipv4.tcp_max_syn_backlog", "4096")?;
        // A kernel that suspects a flood of connections would measure its cookies.
        self.srv.sysctl("net.ipv4.tcp_syncookies", "0")?;
        self.offloads(Offloads::Off)
    }

    /// Switches the offloads of all four interfaces. GRO is always on: it is what gives a veth NAPI, without which no
    /// frame can be redirected into it, and what a NIC does.
    pub fn offloads(&self, offloads: Offloads) -> Result<()> {
        let on = if offloads == Offloads::On { "on" } else { "off" };
        for (ns, device) in [(&self.cli, "eth0"), (&self.gw, "in0"), (&self.gw, "out0"), (&self.srv, "eth0")]
        {
            check("ethtool", ns.command("ethtool").args(["-K", device, "tx", on, "tso", on, "gro", "on"]))?;
        }
        Ok(())
    }
}
