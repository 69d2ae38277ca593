//! Values that are written alike in the file and in flags: port ranges, EIP ranges, prefixes, timeouts.

use std::net::Ipv4Addr;
use std::str::FromStr;

use ipnet::Ipv4Net;
use nat_common::Proto;
use nat_common::eip::MAX_EIPS;
use nat_common::timeouts::MAX_TIMEOUT_MS;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::duration::{DurationError, parse_ms, render_ms};
use crate::model::ports::{Ports, ReservedPorts};

/// The shortest timeout that can be configured, in milliseconds.
pub const MIN_TIMEOUT_MS: u32 = 1000;

/// Why a value cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    /// Not `FIRST-LAST`.
    #[error("\"{0}\" is no port range; write FIRST-LAST, such as \"1024-65535\"")]
    Ports(String),
    /// Last below first, or port 0.
    #[error("the port range \"{0}\" is empty; write FIRST-LAST with 1 <= FIRST <= LAST <= 65535")]
    EmptyPorts(String),
    /// A number beyond the last port.
    #[error("{port} in \"{text}\" is no port; ports are 1 to 65535")]
    NoPort {
        /// As written.
        text: String,
        /// The number.
        port: u32,
    },
    /// Not `PROTO/PORT` or `PROTO/FIRST-LAST`.
    #[error("\"{0}\" is no port of a protocol; write tcp/PORT, udp/FIRST-LAST or icmp/IDENTIFIER")]
    ReservedPorts(String),
    /// Not `ADDR` or `ADDR/LEN`.
    #[error(
        "\"{0}\" is no IPv4 address or range; write 203.0.113.10 or 203.0.113.16/29, or the name of an interface whose \
         address is to be followed"
    )]
    Eips(String),
    /// A range whose address is not its first.
    #[error(
        "{text} is not the start of its range; write {first}/{len} for the range, {addr} for the one address"
    )]
    HostBits {
        /// As written.
        text: String,
        /// Address as written.
        addr: Ipv4Addr,
        /// First address of the range.
        first: Ipv4Addr,
        /// Prefix length as written.
        len: u8,
    },
    /// More addresses than [`MAX_EIPS`].
    #[error("{0} has more than {MAX_EIPS} addresses, all that natgw can use; write a longer prefix")]
    TooManyEips(String),
    /// Not `ADDR/LEN`.
    #[error("\"{0}\" is no IPv4 prefix; write ADDR/LEN, such as 10.0.0.0/8")]
    Prefix(String),
    /// No duration.
    #[error(transparent)]
    Duration(#[from] DurationError),
    /// A duration, but none that a timeout may have.
    #[error("\"{0}\" is out of range; a timeout is at least 1s and at most {max}", max = render_ms(u64::from(MAX_TIMEOUT_MS)))]
    Timeout(String),
}

impl FromStr for Ports {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number = |s: &str| s.trim().parse::<u32>().map_err(|_| ValueError::Ports(text.to_owned()));
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        let port =
            |n: u32| u16::try_from(n).map_err(|_| ValueError::NoPort { text: text.to_owned(), port: n });
        let (first, last) = (port(first)?, port(last)?);
        if 0 < first && first <= last {
            Ok(Self { first, last })
        } else {
            Err(ValueError::EmptyPorts(text.to_owned()))
        }
    }
}

impl FromStr for ReservedPorts {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::ReservedPorts(text.to_owned());
        let (proto, ports) = text.split_once('/').ok_or_else(wrong)?;
        let proto = Proto::ALL.into_iter().find(|p| p.name() == proto).ok_or_else(wrong)?;
        match ports.parse() {
            Ok(ports) => Ok(Self { proto, ports }),
            Err(ValueError::Ports(_)) => Err(wrong()),
            Err(e) => Err(e),
        }
    }
}

/// `ADDR` or `ADDR/LEN`: one EIP, or all addresses of a prefix (the first and the last one too).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Eips {
    net: Ipv4Net,
}

impl Eips {
    /// The addresses, ascending.
    pub fn addresses(self) -> impl Iterator<Item = Ipv4Addr> {
        let (first, last) = (u32::from(self.net.network()), u32::from(self.net.broadcast()));
        (first..=last).map(Ipv4Addr::from)
    }
}

/// What may stand in a pool's `eips`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EipSpec {
    /// Addresses.
    Range(Eips),
    /// The address of an interface, whatever it is.
    Of(String),
}

/// The kernel's limit for names of interfaces, without the final zero (include/uapi/linux/if.h, `IFNAMSIZ`).
const MAX_NAME: usize = 15;

impl FromStr for EipSpec {
    type Err = ValueError;

    /// What has a letter and none of what addresses are written with is a name.
    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_name = text.len() <= MAX_NAME
            && text.contains(|c: char| c.is_ascii_alphabetic())
            && !text.contains(|c: char| matches!(c, '/' | ':' | '\0') || c.is_whitespace());
        if is_name { Ok(Self::Of(text.to_owned())) } else { text.parse().map(Self::Range) }
    }
}

impl FromStr for Eips {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Eips(text.to_owned());
        let net = if text.contains('/') {
            text.parse::<Ipv4Net>().map_err(|_| wrong())?
        } else {
            Ipv4Net::from(text.parse::<Ipv4Addr>().map_err(|_| wrong())?)
        };
        let (addr, first, len) = (net.addr(), net.network(), net.prefix_len());
        if addr != first {
            return Err(ValueError::HostBits { text: text.to_owned(), addr, first, len });
        }
        if 1u64 << (32 - u32::from(len)) > u64::from(MAX_EIPS) {
            return Err(ValueError::TooManyEips(text.to_owned()));
        }
        Ok(Self { net })
    }
}

/// `ADDR/LEN`, kept with its host bits cleared; a bare address is a /32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix(pub Ipv4Net);

impl FromStr for Prefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let net = text.parse::<Ipv4Net>().or_else(|_| text.parse::<Ipv4Addr>().map(Ipv4Net::from));
        net.map(|n| Self(n.trunc())).map_err(|_| ValueError::Prefix(text.to_owned()))
    }
}

/// An idle timeout in milliseconds, within what stamps can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeout(pub u32);

impl FromStr for Timeout {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        u32::try_from(parse_ms(text)?)
            .ok()
            .filter(|ms| (MIN_TIMEOUT_MS..=MAX_TIMEOUT_MS).contains(ms))
            .map(Self)
            .ok_or_else(|| ValueError::Timeout(text.to_owned()))
    }
}

macro_rules! deserialize_from_str {
    ($($t:ty),+) => {$(
        impl<'de> Deserialize<'de> for $t {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }
    )+};
}
deserialize_from_str!(Ports, ReservedPorts, EipSpec, Prefix, Timeout);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_ranges() {
        assert_eq!("1024-65535".parse(), Ok(Ports::DEFAULT));
        assert_eq!("5000".parse(), Ok(Ports { first: 5000, last: 5000 }));
        for empty in ["2000-1000", "0-10"] {
            assert_eq!(empty.parse::<Ports>(), Err(ValueError::EmptyPorts(empty.to_owned())));
        }
        for (text, port) in [("1-65536", 65_536), ("5000-70000", 70_000), ("70000-80000", 70_000)] {
            assert_eq!(text.parse::<Ports>(), Err(ValueError::NoPort { text: text.to_owned(), port }));
        }
        for wrong in ["", "-", "a-b", "1-", "1-2-3"] {
            assert_eq!(wrong.parse::<Ports>(), Err(ValueError::Ports(wrong.to_owned())));
        }
    }

    #[test]
    fn reserved_ports() {
        for text in ["udp/4789", "tcp/5000-5100", "icmp/7"] {
            assert_eq!(text.parse::<ReservedPorts>().expect("valid").to_string(), text);
        }
        for wrong in ["", "4789", "tcp", "tcp/", "sctp/5", "TCP/5", "tcp/a", "tcp/1-2-3"] {
            assert_eq!(wrong.parse::<ReservedPorts>(), Err(ValueError::ReservedPorts(wrong.to_owned())));
        }
        for empty in ["tcp/9-8", "udp/0"] {
            assert!(matches!(empty.parse::<ReservedPorts>(), Err(ValueError::EmptyPorts(_))), "{empty}");
        }
        for none in ["icmp/65536", "tcp/5000-70000"] {
            assert!(matches!(none.parse::<ReservedPorts>(), Err(ValueError::NoPort { .. })), "{none}");
        }
    }

    #[test]
    fn an_eip_range_is_all_its_addresses() {
        let eips: Vec<_> = "203.0.113.16/29".parse::<Eips>().expect("valid").addresses().collect();
        assert_eq!(eips.len(), 8);
        assert_eq!((eips[0], eips[7]), (Ipv4Addr::new(203, 0, 113, 16), Ipv4Addr::new(203, 0, 113, 23)));
        let one: Vec<_> = "203.0.113.10".parse::<Eips>().expect("valid").addresses().collect();
        assert_eq!(one, [Ipv4Addr::new(203, 0, 113, 10)]);
    }

    #[test]
    fn eip_ranges_that_are_refused() {
        assert!(matches!("203.0.113.17/29".parse::<Eips>(), Err(ValueError::HostBits { .. })));
        assert!(matches!("0.0.0.0/0".parse::<Eips>(), Err(ValueError::TooManyEips(_))));
        assert!(matches!("10.0.0.0/19".parse::<Eips>(), Err(ValueError::TooManyEips(_))));
        assert!("10.0.0.0/20".parse::<Eips>().is_ok());
        for wrong in ["", "1.2.3", "::1", "1.2.3.4/33", "host"] {
            assert!(matches!(wrong.parse::<Eips>(), Err(ValueError::Eips(_))), "{wrong}");
        }
    }

    #[test]
    fn a_name_is_an_interface_and_whatever_looks_like_an_address_is_one() {
        for name in ["eth0", "ppp0", "wan", "eth0.100", "1a"] {
            assert_eq!(name.parse(), Ok(EipSpec::Of(name.to_owned())));
        }
        assert!(matches!("203.0.113.16/29".parse(), Ok(EipSpec::Range(_))));
        for wrong in ["", "1.2.3", "::1", "1.2.3.4/x", "eth0:1", "sixteen-letters-"] {
            let error = wrong.parse::<EipSpec>().expect_err(wrong);
            assert!(error.to_string().contains("interface"), "{error}");
        }
    }

    #[test]
    fn timeouts_stay_within_what_stamps_can_tell() {
        assert_eq!("1s".parse(), Ok(Timeout(1000)));
        assert_eq!("12d".parse(), Ok(Timeout(MAX_TIMEOUT_MS)));
        for wrong in ["999ms", "0s", "12d1ms", "60d"] {
            assert_eq!(wrong.parse::<Timeout>(), Err(ValueError::Timeout(wrong.to_owned())));
        }
    }
}
