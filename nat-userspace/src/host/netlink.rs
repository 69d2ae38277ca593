//! A netlink route socket: requests and dumps, with the kernel's errno as the error.

use std::io;

use futures_util::StreamExt;
use rtnetlink::{
    Handle,
    packet_core::{NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload},
    packet_route::RouteNetlinkMessage,
};
use tokio::task::JoinHandle;

use super::error::Error;

/// Marks what natgw made in the kernel's tables (`proto` in `ip addr` and `ip neigh`): after a crash it is
/// recognised as natgw's own, and what other programs made is left alone.
pub(super) const PROTOCOL: u8 = 0x6e;

/// Requests that wait for their answer at a time: enough not to wait for each, few enough that all answers fit into the
/// socket.
const IN_FLIGHT: usize = 64;

/// A socket in the network namespace of the thread that opened it.
pub(super) struct Netlink {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Netlink {
    /// Opens a socket; needs a running tokio runtime.
    pub(super) fn open() -> Result<Self, Error> {
        let (connection, handle, _) = rtnetlink::new_connection().map_err(Error::NetlinkSocket)?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// Asks for a change and waits until the kernel has made it.
    pub(super) async fn change(&self, message: RouteNetlinkMessage, flags: u16) -> io::Result<()> {
        self.request(message, NLM_F_REQUEST | NLM_F_ACK | flags).await.map(drop)
    }

    /// [`Self::change`] for many, [`IN_FLIGHT`] at a time: what the kernel said to each, in their order.
    pub(super) async fn change_all(
        &self,
        messages: impl IntoIterator<Item = RouteNetlinkMessage>,
        flags: u16,
    ) -> Vec<io::Result<()>> {
        let changes = messages.into_iter().map(|message| self.change(message, flags));
        futures_util::stream::iter(changes).buffered(IN_FLIGHT).collect().await
    }

    /// Asks for one object.
    pub(super) async fn get(&self, message: RouteNetlinkMessage) -> io::Result<Option<RouteNetlinkMessage>> {
        Ok(self.request(message, NLM_F_REQUEST).await?.pop())
    }

    /// Asks for all objects of a kind.
    pub(super) async fn dump(&self, message: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
        self.request(message, NLM_F_REQUEST | NLM_F_DUMP).await
    }

    /// [`Self::dump`] of what may be long: one object after the other, none kept.
    pub(super) async fn dump_each(
        &self,
        message: RouteNetlinkMessage,
        each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        self.request_each(message, NLM_F_REQUEST | NLM_F_DUMP, each).await
    }

    async fn request(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
    ) -> io::Result<Vec<RouteNetlinkMessage>> {
        let mut objects = Vec::new();
        self.request_each(message, flags, |object| objects.push(object)).await?;
        Ok(objects)
    }

    async fn request_each(
        &self,
        message: RouteNetlinkMessage,
        flags: u16,
        mut each: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut request = NetlinkMessage::from(message);
        request.header.flags = flags;
        let mut handle = self.handle.clone();
        let mut answers = handle.request(request).map_err(io::Error::other)?;
        while let Some(answer) = answers.next().await {
            match answer.payload {
                NetlinkPayload::InnerMessage(object) => each(object),
                NetlinkPayload::Error(e) if e.code.is_some() => return Err(e.to_io()),
                _ => {}
            }
        }
        Ok(())
    }
}

impl Drop for Netlink {
    fn drop(&mut self) {
        self.task.abort();
    }
}
