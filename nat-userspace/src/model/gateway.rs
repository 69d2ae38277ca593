//! What a valid configuration means: the state that the data plane and the host are brought to.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

use ipnet::Ipv4Net;
use nat_common::Side;
use nat_common::hop::Rpf;
use nat_common::timeouts::Timeouts;
use serde::de::{Deserialize, Deserializer, Visitor};

use super::ports::ReservedPorts;

/// A complete, validated gateway. Nothing in it can be refused any more, short of the host changing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Interfaces towards the clients. An interface that is also in `outside` makes a one-armed gateway.
    pub inside: Vec<String>,
    /// Interfaces towards the internet.
    pub outside: Vec<String>,
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
        /// Native, else generic with a warning.
        #[default]
        Auto = "auto",
        /// Native or fail.
        Native = "native",
        /// Generic.
        Generic = "generic",
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
