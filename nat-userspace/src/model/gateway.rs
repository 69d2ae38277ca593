//! What a valid configuration means: the state that the data plane and the host are brought to.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use nat_common::Side;
use nat_common::hop::Rpf;
use nat_common::timeouts::Timeouts;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::patterns::{Matched, Patterns};
use super::ports::ReservedPorts;

/// A complete, validated gateway. Nothing in it can be refused any more, short of the host changing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Interfaces towards the clients. An interface that is also in `outside` makes a one-armed gateway. Those that a pattern
    /// matches are among them while they exist.
    pub inside: Vec<String>,
    /// Interfaces towards the internet, likewise.
    pub outside: Vec<String>,
    /// Patterns of names, of interfaces that come and go.
    pub patterns: Patterns,
    /// Pools, in the order of the configuration; never empty.
    pub pools: Vec<Pool>,
    /// Destinations that are routed, not translated.
    pub exempt: Vec<Ipv4Net>,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// Flows that the table holds (two entries each).
    pub max_flows: u32,
    /// Where that number comes from.
    pub max_flows_by: SizedBy,
    /// How to attach.
    pub xdp: XdpChoice,
    /// Whether sources must be genuine.
    pub rpf: Rpf,
    /// ICMP errors and RSTs that natgw itself sends, per CPU and second.
    pub answers_per_second: u32,
    /// Who answers ARP for the EIPs.
    pub announce: Announce,
    /// Whether another host is asked for an EIP by ARP before natgw takes it.
    pub duplicate_check: bool,
    /// Whether the host answers pings to a shared EIP.
    pub shared_echo: bool,
    /// Where `/metrics` is served.
    pub metrics: Option<SocketAddr>,
}

impl Gateway {
    /// Whether some interface is inside and outside at once.
    pub fn is_one_armed(&self) -> bool {
        self.inside.iter().any(|i| self.outside.contains(i))
    }

    /// The side of an interface: a constant of [`Side`]. In a one-armed gateway every interface is both.
    pub fn side_of(&self, interface: &str) -> u8 {
        if self.is_one_armed() {
            Side::ONEARM
        } else if self.inside.iter().any(|i| i == interface) {
            Side::INSIDE
        } else {
            Side::OUTSIDE
        }
    }

    /// Interfaces whose address is an EIP, and the address that each has; `None` when it has none.
    pub fn followed(&self) -> Vec<(&str, Option<Ipv4Addr>)> {
        let of = |pool: &Pool, name: &str| {
            pool.eips.iter().find(|e| e.of.as_deref() == Some(name)).map(|e| e.addr)
        };
        self.pools
            .iter()
            .flat_map(|pool| pool.follows.iter().map(move |name| (name.as_str(), of(pool, name))))
            .collect()
    }

    /// Whether there are several inside interfaces, or may be.
    pub fn has_several_inside(&self) -> bool {
        self.inside.len() > 1 || !self.patterns.inside.is_empty()
    }

    /// Whether an interface is the gateway's by its name, there or not.
    pub fn manages(&self, interface: &str) -> bool {
        self.interfaces().contains(&interface) || self.patterns.side_of(interface) != Matched::No
    }

    /// Takes in an interface that is there, when a pattern matches its name. [`Matched::Both`]: it is on neither side.
    pub fn take_in(&mut self, interface: &str) -> Matched {
        let matched = self.patterns.side_of(interface);
        if !self.interfaces().contains(&interface) {
            match matched {
                Matched::Inside => self.inside.push(interface.to_owned()),
                Matched::Outside => self.outside.push(interface.to_owned()),
                Matched::Both | Matched::No => {}
            }
        }
        matched
    }

    /// Forgets an interface that is gone, when it was taken in by a pattern: whether that is so. One that the configuration
    /// names is waited for.
    pub fn let_go(&mut self, interface: &str) -> bool {
        let matched = self.patterns.side_of(interface);
        match matched {
            Matched::Inside => self.inside.retain(|i| i != interface),
            Matched::Outside => self.outside.retain(|o| o != interface),
            Matched::Both | Matched::No => {}
        }
        matched != Matched::No
    }

    /// Every managed interface once, inside ones first.
    pub fn interfaces(&self) -> Vec<&str> {
        let mut all: Vec<&str> = Vec::new();
        for name in self.inside.iter().chain(&self.outside) {
            if !all.contains(&name.as_str()) {
                all.push(name);
            }
        }
        all
    }
}

/// EIPs that serve a set of inside prefixes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Name, unique.
    pub name: String,
    /// EIPs, in the order of the configuration.
    pub eips: Vec<DesiredEip>,
    /// Interfaces whose IPv4 address is an EIP of the pool, whatever it is. One without an address has no EIP in `eips`.
    pub follows: Vec<String>,
    /// Inside prefixes.
    pub sources: Vec<Ipv4Net>,
    /// First and last port.
    pub ports: (u16, u16),
    /// The outside interface that its EIPs belong to, if the configuration names one; [`Self::ANY`].
    pub outside: Option<String>,
}

impl Pool {
    /// In place of the name of an outside interface: the EIPs leave by any.
    pub const ANY: &'static str = "any";
}

/// One EIP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredEip {
    /// The address.
    pub addr: Ipv4Addr,
    /// The host's own address too: ports to leave to the host (its `ip_local_port_range`). `None`: dedicated.
    pub host_ports: Option<(u16, u16)>,
    /// The interface whose address it is, when that is what is configured.
    pub of: Option<String>,
    /// The outside interface that it belongs to, by which alone it leaves; `None`: by any.
    pub outside: Option<String>,
    /// Ports that flows never get: in order, and ranges that touch are one.
    pub reserved: Vec<ReservedPorts>,
}

/// Where the size of the flow table comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SizedBy {
    /// The operator: a table of another size is replaced.
    Operator,
    /// The memory available just now: a table that is there already may have been sized at another time.
    Memory,
}

macro_rules! choices {
    ($(
        $(#[$doc:meta])*
        $name:ident { $($(#[$what:meta])* $choice:ident = $text:literal,)+ }
    )+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
        pub enum $name {$(
            $(#[$what])*
            #[value(name = $text)]
            $choice,
        )+}

        impl $name {
            /// Every choice, as in the configuration.
            pub const NAMES: &'static [&'static str] = &[$($text),+];

            /// As in the configuration.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$choice => $text),+ }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        write!(f, "{}", Alternatives($name::NAMES))
                    }

                    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<$name, E> {
                        match text {
                            $($text => Ok($name::$choice),)+
                            _ => Err(E::unknown_variant(text, $name::NAMES)),
                        }
                    }
                }
                deserializer.deserialize_str(Text)
            }
        }
    )+};
}

/// `"a", "b" or "c"`.
struct Alternatives(&'static [&'static str]);

impl fmt::Display for Alternatives {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, name) in self.0.iter().enumerate() {
            let before = match n {
                0 => "",
                _ if n + 1 == self.0.len() => " or ",
                _ => ", ",
            };
            write!(f, "{before}\"{name}\"")?;
        }
        Ok(())
    }
}

// What is chosen by a word, in the file and in flags.
choices! {
    /// `xdp = "..."`.
    XdpChoice {
        /// For each interface what is fastest there: native XDP on network cards that have it, tc on everything else.
        #[default]
        Auto = "auto",
        /// Native XDP or fail.
        Native = "native",
        /// Generic XDP.
        Generic = "generic",
        /// tc.
        Tc = "tc",
    }

    /// `rpf = "..."`.
    RpfChoice {
        /// One of the routes to the source leads to the interface that the packet came by.
        #[default]
        Strict = "strict",
        /// There is a route to the source.
        Loose = "loose",
        /// Anything but this host's own addresses.
        Off = "off",
    }

    /// `announce = "..."`.
    Announce {
        /// natgw adds the EIPs to the outside interface as /32 addresses; the kernel answers ARP for them.
        #[default]
        Arp = "arp",
        /// The EIPs are routed here, or configured by somebody else.
        None = "none",
    }

    /// `profile = "..."` under `[timeouts]`.
    Profile {
        /// RFC 4787, 5382, 5508 and 7857.
        #[default]
        Rfc = "rfc",
        /// 350 s for whatever is idle, as AWS NAT gateways do.
        Aws = "aws",
    }
}

impl RpfChoice {
    /// As the packet path knows it.
    pub const fn level(self) -> Rpf {
        match self {
            Self::Strict => Rpf::Strict,
            Self::Loose => Rpf::Loose,
            Self::Off => Rpf::Off,
        }
    }
}

impl Profile {
    /// The profile's timeouts.
    pub const fn timeouts(self) -> Timeouts {
        match self {
            Self::Rfc => Timeouts::RFC,
            Self::Aws => Timeouts::AWS,
        }
    }
}
