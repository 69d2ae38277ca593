//! Emptying the kernel's connection tracking table.

use std::os::fd::AsRawFd as _;

use anyhow::{Result, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use crate::lab::Netns;

/// Deletes every entry of a namespace, as `conntrack -F` does.
pub fn flush(ns: &Netns) -> Result<()> {
    const DELETE: u16 = (1 << 8) | 2;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    let answer = ns.run(|| -> Result<Vec<u8>> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkNetFilter,
        )?;
        // struct nlmsghdr, struct nfgenmsg; no attributes: everything.
        let mut message = Vec::new();
        message.extend(20u32.to_ne_bytes());
        message.extend(DELETE.to_ne_bytes());
        message.extend(REQUEST_AND_ACK.to_ne_bytes());
        message.extend([0; 8]);
        message.extend([libc::AF_INET as u8, 0, 0, 0]);
        send(socket.as_raw_fd(), &message, MsgFlags::empty())?;
        let mut answer = vec![0; 4096];
        let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty())?;
        answer.truncate(length);
        Ok(answer)
    })?;
    let error = answer.get(16..20).and_then(|b| b.try_into().ok()).map(i32::from_ne_bytes);
    ensure!(error == Some(0), "cannot flush conntrack in {}: netlink says {error:?}", ns.name());
    Ok(())
}
