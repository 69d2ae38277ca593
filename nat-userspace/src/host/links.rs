//! Interfaces as the kernel tells of them.

use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    link::{LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage},
};

use super::error::Error;
use super::netlink::Netlink;
use crate::model::path::{Device, Framing};

/// An interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    /// What it is.
    pub device: Device,
}

/// Every interface of the namespace.
pub(super) async fn dump(netlink: &Netlink) -> Result<Vec<Link>, Error> {
    let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let answers = netlink.dump(request).await.map_err(Error::netlink("list the interfaces"))?;
    Ok(answers
        .iter()
        .filter_map(|a| match a {
            RouteNetlinkMessage::NewLink(message) => parse(message),
            _ => None,
        })
        .collect())
}

/// `None` for what is not about an interface itself (a bridge tells of its ports with the same message).
pub(super) fn parse(message: &LinkMessage) -> Option<Link> {
    let header = &message.header;
    if header.interface_family != AddressFamily::Unspec {
        return None;
    }
    let mut link = Link {
        name: String::new(),
        index: header.index,
        mac: [0; 6],
        mtu: 0,
        up: header.flags.contains(LinkFlags::Up),
        device: Device { framing: framing(header.link_layer_type), ..Device::default() },
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Mtu(mtu) => link.mtu = *mtu,
            LinkAttribute::Address(mac) => link.mac = mac.as_slice().try_into().unwrap_or_default(),
            LinkAttribute::LinkInfo(info) => {
                for info in info {
                    match info {
                        LinkInfo::Kind(kind) => link.device.kind = Some(kind.to_string()),
                        LinkInfo::PortKind(kind) => link.device.port_of = Some(kind.to_string()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(link)
}

fn framing(layer: LinkLayerType) -> Framing {
    use LinkLayerType as L;
    match layer {
        L::Ether => Framing::Ethernet,
        L::None | L::Ppp | L::Rawip | L::Tunnel | L::Tunnel6 | L::Sit | L::Ipgre | L::Ip6gre => Framing::Ip,
        _ => Framing::Other,
    }
}
