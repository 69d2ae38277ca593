//! What the kernel tells of the interfaces' part in XDP, and when that changes: the family `netdev` of generic netlink, there
//! since Linux 6.3.

use std::collections::HashMap;
use std::io;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use netlink_packet_generic::ctrl::nlas::{GenlCtrlAttrs, McastGrpAttrs};
use netlink_packet_generic::ctrl::{GenlCtrl, GenlCtrlCmd};
use netlink_packet_generic::{GenlFamily, GenlHeader, GenlMessage};
use rtnetlink::packet_core::{
    DecodeError, Emitable, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
    NlasIterator, ParseableParametrized, parse_u32, parse_u64,
};
use rtnetlink::proto::{ConnectionHandle, new_connection};
use rtnetlink::sys::{AsyncSocket as _, SocketAddr, protocols::NETLINK_GENERIC};
use tokio::task::JoinHandle;

use super::error::Error;
use crate::model::path::XdpFeatures;

const FAMILY: &str = "netdev";

/// Who is told of changes, Documentation/netlink/specs/netdev.yaml.
const GROUP: &str = "mgmt";

// `enum netdev` commands and `enum netdev_dev` attributes, include/uapi/linux/netdev.h.
const DEV_GET: u8 = 1;
const DEV_ADD: u8 = 2;
const DEV_DELETE: u8 = 3;
const DEV_CHANGE: u8 = 4;
const IFINDEX: u16 = 1;
const XDP_FEATURES: u16 = 3;

type Message = GenlMessage<Device>;

/// The XDP features of the interfaces of a network namespace, kept current by [`Self::next`].
pub struct Features(Option<Watch>);

struct Watch {
    family: u16,
    handle: ConnectionHandle<Message>,
    task: JoinHandle<()>,
    messages: Messages,
    known: HashMap<u32, u64>,
    /// The kernel had more to tell than the socket holds.
    is_stale: bool,
}

type Messages = Pin<Box<dyn Stream<Item = NetlinkMessage<Message>> + Send>>;

impl Features {
    /// Reads them, and watches from now on, in the network namespace of the calling thread.
    pub async fn open() -> Result<Self, Error> {
        let Some((family, group)) = resolve().await? else { return Ok(Self(None)) };
        let (mut connection, handle, messages) =
            new_connection::<Message>(NETLINK_GENERIC).map_err(Error::NetlinkSocket)?;
        connection.socket_mut().socket_mut().add_membership(group).map_err(Error::NetlinkSocket)?;
        let task = tokio::spawn(connection);
        let messages = Box::pin(messages.map(|(message, _)| message));
        let mut watch = Watch { family, handle, task, messages, known: HashMap::new(), is_stale: false };
        watch.read().await?;
        Ok(Self(Some(watch)))
    }

    /// The features of an interface. One that the kernel has not told of (yet) has none.
    pub fn of(&self, ifindex: u32) -> XdpFeatures {
        match &self.0 {
            None => XdpFeatures::Untold,
            Some(watch) => XdpFeatures::Told(watch.known.get(&ifindex).copied().unwrap_or(0)),
        }
    }

    /// Waits until those of some interface change; forever, when the kernel tells of none. Nothing is lost when the future
    /// is dropped.
    pub async fn next(&mut self) {
        let Some(watch) = &mut self.0 else { return std::future::pending().await };
        loop {
            if watch.is_stale {
                if let Err(error) = watch.read().await {
                    tracing::warn!(
                        ?error,
                        "cannot read the XDP features of the interfaces again after an overrun"
                    );
                }
                watch.is_stale = false;
                return;
            }
            // The socket is only closed together with the daemon.
            let Some(message) = watch.messages.next().await else { return std::future::pending().await };
            match message.payload {
                NetlinkPayload::InnerMessage(message) if watch.take(&message) => return,
                NetlinkPayload::Overrun(_) => watch.is_stale = true,
                _ => {}
            }
        }
    }

    /// Takes in what the kernel has told meanwhile, without waiting for more. What was asked of the kernel before (attach a
    /// program) is known afterwards.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Some(watch) => watch.read().await,
            None => Ok(()),
        }
    }
}

impl Watch {
    async fn read(&mut self) -> Result<(), Error> {
        let mut message = Message::from_payload(Device { command: DEV_GET, ..Device::default() });
        message.set_resolved_family_id(self.family);
        let mut request = NetlinkMessage::from(message);
        // The kernel does not mark these messages as parts of a dump (net/core/netdev-genl.c, `netdev_nl_dev_fill`), so the netlink
        // crate would take the first for all of them. Told to wait for an acknowledgement, it reads on to the dump's end.
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP | NLM_F_ACK;
        let failed = Error::netlink("read the XDP features of the interfaces");
        let answers = self.handle.request(request, SocketAddr::new(0, 0));
        let mut answers = match answers {
            Ok(answers) => answers,
            Err(e) => return Err(failed(io::Error::other(e))),
        };
        let mut known = HashMap::new();
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(m) => {
                    known.insert(m.payload.ifindex, m.payload.features);
                }
                NetlinkPayload::Error(e) if e.code.is_some() => return Err(failed(e.to_io())),
                _ => {}
            }
        }
        self.known = known;
        Ok(())
    }

    /// Whether it says something new.
    fn take(&mut self, message: &Message) -> bool {
        let Device { command, ifindex, features } = message.payload;
        match command {
            DEV_ADD | DEV_CHANGE => self.known.insert(ifindex, features) != Some(features),
            DEV_DELETE => self.known.remove(&ifindex).is_some(),
            _ => false,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Numbers of the family and of the group of those who are told of changes; `None`: this kernel has no such family.
async fn resolve() -> Result<Option<(u16, u32)>, Error> {
    let (connection, handle, _) =
        new_connection::<GenlMessage<GenlCtrl>>(NETLINK_GENERIC).map_err(Error::NetlinkSocket)?;
    let task = tokio::spawn(connection);
    let asked =
        GenlCtrl { cmd: GenlCtrlCmd::GetFamily, nlas: vec![GenlCtrlAttrs::FamilyName(FAMILY.to_owned())] };
    let mut request = NetlinkMessage::from(GenlMessage::from_payload(asked));
    request.header.flags = NLM_F_REQUEST;
    let failed = Error::netlink("look for the netdev family of generic netlink");
    let found = match handle.request(request, SocketAddr::new(0, 0)) {
        Ok(mut answers) => answers.next().await,
        Err(e) => return Err(failed(io::Error::other(e))),
    };
    task.abort();
    match found.map(|answer| answer.payload) {
        Some(NetlinkPayload::InnerMessage(message)) => Ok(numbers(&message.payload.nlas)),
        Some(NetlinkPayload::Error(e)) if e.raw_code() == -libc::ENOENT => Ok(None),
        Some(NetlinkPayload::Error(e)) => Err(failed(e.to_io())),
        _ => Ok(None),
    }
}

fn numbers(attributes: &[GenlCtrlAttrs]) -> Option<(u16, u32)> {
    let family = attributes.iter().find_map(|a| match a {
        GenlCtrlAttrs::FamilyId(id) => Some(*id),
        _ => None,
    })?;
    let groups = attributes.iter().find_map(|a| match a {
        GenlCtrlAttrs::McastGroups(groups) => Some(groups),
        _ => None,
    })?;
    let is_ours = |group: &&Vec<McastGrpAttrs>| {
        group.iter().any(|a| matches!(a, McastGrpAttrs::Name(name) if name == GROUP))
    };
    let group = groups.iter().find(is_ours)?.iter().find_map(|a| match a {
        McastGrpAttrs::Id(id) => Some(*id),
        McastGrpAttrs::Name(_) => None,
    })?;
    Some((family, group))
}

/// A message of the family, as far as natgw reads it. As a request it asks for every device.
#[derive(Clone, Copy, Debug, Default)]
struct Device {
    command: u8,
    ifindex: u32,
    features: u64,
}

impl GenlFamily for Device {
    fn family_name() -> &'static str {
        FAMILY
    }

    fn command(&self) -> u8 {
        self.command
    }

    fn version(&self) -> u8 {
        1
    }
}

impl Emitable for Device {
    fn buffer_len(&self) -> usize {
        0
    }

    fn emit(&self, _: &mut [u8]) {}
}

impl ParseableParametrized<[u8], GenlHeader> for Device {
    fn parse_with_param(attributes: &[u8], header: GenlHeader) -> Result<Self, DecodeError> {
        let mut device = Self { command: header.cmd, ..Self::default() };
        for attribute in NlasIterator::new(attributes) {
            let attribute = attribute?;
            match attribute.kind() {
                IFINDEX => device.ifindex = parse_u32(attribute.value())?,
                XDP_FEATURES => device.features = parse_u64(attribute.value())?,
                _ => {}
            }
        }
        Ok(device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_from_its_attributes() {
        // As DEV_GET tells of a veth: ifindex, padding, xdp-features, and one that is of no interest.
        let bytes = [
            &[8, 0, 1, 0, 7, 0, 0, 0][..],
            &[4, 0, 2, 0],
            &[12, 0, 3, 0, 0x67, 0, 0, 0, 0, 0, 0, 0],
            &[8, 0, 4, 0, 1, 0, 0, 0],
        ];
        let header = GenlHeader { cmd: DEV_CHANGE, version: 1 };
        let device = Device::parse_with_param(&bytes.concat(), header).expect("well-formed");
        assert_eq!((device.command, device.ifindex, device.features), (DEV_CHANGE, 7, 0x67));
    }
}
