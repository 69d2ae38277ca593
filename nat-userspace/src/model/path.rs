//! By which path natgw gets an interface's frames: native XDP, generic XDP or tc. Decided from what the interface is and what
//! was asked for; nothing is touched here.

use super::gateway::XdpChoice;
use super::interface::XdpMode;

/// What an interface is, as far as that decides how natgw gets its frames.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Device {
    /// What the kernel calls its kind (`IFLA_INFO_KIND`): "veth", "bridge", "vlan". A network card has none.
    pub kind: Option<String>,
    /// The kind of the interface that it is a port of: "bridge", "bond", "vrf".
    pub port_of: Option<String>,
    /// What its frames begin with.
    pub framing: Framing,
}

/// What an interface's frames begin with (`ARPHRD_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    /// An Ethernet header.
    #[default]
    Ethernet,
    /// The IP header: `WireGuard`, TUN, PPP, IP tunnels.
    Ip,
    /// Something else.
    Other,
}

/// What the kernel tells of an interface's part in XDP (`xdp-features` of the netdev family of generic netlink, Linux 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum XdpFeatures {
    /// Nothing: the kernel is older.
    Untold,
    /// `enum netdev_xdp_act`, include/uapi/linux/netdev.h.
    Told(u64),
}

impl XdpFeatures {
    /// `NETDEV_XDP_ACT_BASIC`: its driver runs programs.
    const BASIC: u64 = 1;
    /// `NETDEV_XDP_ACT_NDO_XMIT`: frames can be redirected to it now.
    const NDO_XMIT: u64 = 4;

    fn runs_programs(self) -> bool {
        match self {
            // Attaching tells.
            Self::Untold => true,
            Self::Told(bits) => bits & Self::BASIC != 0,
        }
    }
}

/// Why natgw cannot work on an interface in the way that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither Ethernet nor plain IP.
    #[error("its frames begin with neither an Ethernet nor an IP header, which are all that natgw reads")]
    Framing,
    /// A port of a bridge or bond.
    #[error("it is a port of a {0}, which has the addresses and the routes; name the {0} instead")]
    Port(&'static str),
    /// XDP was asked for where there is no Ethernet header.
    #[error(
        "its frames have no Ethernet header, without which there is no XDP; write xdp = \"auto\" or xdp = \"tc\""
    )]
    NoEthernet,
    /// Native XDP was asked for on a bond.
    #[error(
        "a program in the drivers below a {0} is told of the port that a frame came by, not of the {0}; write \
         xdp = \"auto\" or xdp = \"tc\""
    )]
    BelowBond(&'static str),
}

/// The path of an interface: as asked for, or what is fastest for what hangs on it.
///
/// `auto` is native XDP for network cards. Everything that the kernel makes itself (veth, bridge, tap, VLAN, bond, macvlan,
/// vxlan, ...) is tc: it has no native XDP, or native XDP would end the large frames of local guests. Any pairing works: what XDP
/// cannot redirect to another interface, tc does.
pub fn path_for(device: &Device, choice: XdpChoice, features: XdpFeatures) -> Result<XdpMode, Refusal> {
    if let Some(port) = port_of(device) {
        return Err(Refusal::Port(port));
    }
    match (device.framing, choice) {
        (Framing::Other, _) => return Err(Refusal::Framing),
        (Framing::Ip, XdpChoice::Native | XdpChoice::Generic) => return Err(Refusal::NoEthernet),
        (Framing::Ip, XdpChoice::Auto | XdpChoice::Tc) => return Ok(XdpMode::Tc),
        (Framing::Ethernet, _) => {}
    }
    match choice {
        XdpChoice::Native => match device.kind.as_deref() {
            Some("bond") => Err(Refusal::BelowBond("bond")),
            Some("team") => Err(Refusal::BelowBond("team")),
            _ => Ok(XdpMode::Native),
        },
        XdpChoice::Generic => Ok(XdpMode::Generic),
        XdpChoice::Auto if device.kind.is_none() && features.runs_programs() => Ok(XdpMode::Native),
        XdpChoice::Auto | XdpChoice::Tc => Ok(XdpMode::Tc),
    }
}

/// The kind of the bridge or bond that takes all frames of the interface. A VRF only has routes of its own.
fn port_of(device: &Device) -> Option<&'static str> {
    ["bridge", "bond", "team"].into_iter().find(|kind| device.port_of.as_deref() == Some(kind))
}

/// Whether XDP programs can redirect to an interface. Frames that are redirected to another one are lost without a trace.
///
/// An older kernel does not tell. Then network cards on which a program of ours runs in the driver are taken for ready, which
/// makes them so where they are not always, and taps, which always are. A veth is ready only while its peer has NAPI, which nobody
/// can see from this end, and nothing else that the kernel makes itself has the function.
pub fn is_redirect_target(device: &Device, mode: XdpMode, features: XdpFeatures) -> bool {
    match features {
        XdpFeatures::Told(bits) => bits & XdpFeatures::NDO_XMIT != 0,
        XdpFeatures::Untold => match device.kind.as_deref() {
            None => mode == XdpMode::Native,
            Some("tun") => device.framing == Framing::Ethernet,
            Some(_) => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: XdpFeatures = XdpFeatures::Told(0);
    /// As a veth whose peer has no NAPI, and one whose peer has.
    const VETH: XdpFeatures = XdpFeatures::Told(0x23);
    const READY: XdpFeatures = XdpFeatures::Told(0x67);

    fn device(kind: &str) -> Device {
        Device { kind: (!kind.is_empty()).then(|| kind.to_owned()), ..Device::default() }
    }

    fn ip(kind: &str) -> Device {
        Device { framing: Framing::Ip, ..device(kind) }
    }

    #[test]
    fn a_network_card_with_native_xdp_gets_it() {
        let path = |features| path_for(&device(""), XdpChoice::Auto, features);
        assert_eq!(path(READY), Ok(XdpMode::Native));
        assert_eq!(path(XdpFeatures::Told(3)), Ok(XdpMode::Native), "not a target yet, but it runs programs");
        assert_eq!(path(XdpFeatures::Untold), Ok(XdpMode::Native), "the driver says when it does not");
        assert_eq!(path(NONE), Ok(XdpMode::Tc), "e1000e");
    }

    #[test]
    fn what_the_kernel_makes_itself_gets_tc_even_where_it_has_native_xdp() {
        for kind in [
            "veth",
            "bridge",
            "tun",
            "vlan",
            "bond",
            "team",
            "macvlan",
            "ipvlan",
            "vxlan",
            "dummy",
            "openvswitch",
            "vrf",
            "netkit",
        ] {
            for features in [NONE, VETH, READY, XdpFeatures::Untold] {
                assert_eq!(path_for(&device(kind), XdpChoice::Auto, features), Ok(XdpMode::Tc), "{kind}");
            }
        }
    }

    #[test]
    fn without_an_ethernet_header_there_is_tc_and_nothing_else() {
        for kind in ["wireguard", "tun", "ppp", "ipip", "gre", "sit"] {
            for choice in [XdpChoice::Auto, XdpChoice::Tc] {
                assert_eq!(path_for(&ip(kind), choice, NONE), Ok(XdpMode::Tc), "{kind}");
            }
            for choice in [XdpChoice::Native, XdpChoice::Generic] {
                let refusal = path_for(&ip(kind), choice, NONE).expect_err("refused");
                assert!(refusal.to_string().contains("write xdp = \"auto\""), "{refusal}");
            }
        }
        let other = Device { framing: Framing::Other, ..device("") };
        for choice in [XdpChoice::Auto, XdpChoice::Native, XdpChoice::Generic, XdpChoice::Tc] {
            assert_eq!(path_for(&other, choice, READY), Err(Refusal::Framing));
        }
    }

    #[test]
    fn what_was_asked_for_is_done() {
        for kind in ["", "veth", "tun"] {
            for (choice, mode) in [
                (XdpChoice::Native, XdpMode::Native),
                (XdpChoice::Generic, XdpMode::Generic),
                (XdpChoice::Tc, XdpMode::Tc),
            ] {
                for features in [NONE, READY, XdpFeatures::Untold] {
                    assert_eq!(path_for(&device(kind), choice, features), Ok(mode), "{kind}");
                }
            }
        }
    }

    #[test]
    fn a_port_is_not_taken_for_the_bridge_or_bond_that_it_belongs_to() {
        let port = |of: &str| Device { port_of: Some(of.to_owned()), ..device("") };
        for of in ["bridge", "bond", "team"] {
            let refusal = path_for(&port(of), XdpChoice::Auto, READY).expect_err("refused");
            assert!(refusal.to_string().contains(&format!("name the {of} instead")), "{refusal}");
        }
        assert_eq!(path_for(&port("vrf"), XdpChoice::Auto, READY), Ok(XdpMode::Native));
        for bond in ["bond", "team"] {
            assert!(path_for(&device(bond), XdpChoice::Native, READY).is_err());
            assert_eq!(path_for(&device(bond), XdpChoice::Generic, NONE), Ok(XdpMode::Generic));
        }
    }

    #[test]
    fn the_kernel_says_whether_an_interface_is_a_redirect_target() {
        for mode in [XdpMode::Native, XdpMode::Generic, XdpMode::Tc] {
            for kind in ["", "veth", "bridge"] {
                assert!(is_redirect_target(&device(kind), mode, READY));
                assert!(!is_redirect_target(&device(kind), mode, VETH));
                assert!(!is_redirect_target(&device(kind), mode, NONE));
            }
        }
    }

    #[test]
    fn on_an_older_kernel_only_what_must_be_ready_is_taken_for_it() {
        let is_ready = |device: &Device, mode| is_redirect_target(device, mode, XdpFeatures::Untold);
        assert!(is_ready(&device(""), XdpMode::Native) && !is_ready(&device(""), XdpMode::Tc));
        assert!(is_ready(&device("tun"), XdpMode::Tc) && !is_ready(&ip("tun"), XdpMode::Tc));
        for kind in ["veth", "bridge", "vlan", "macvlan"] {
            assert!(!is_ready(&device(kind), XdpMode::Native), "{kind}");
        }
    }
}
