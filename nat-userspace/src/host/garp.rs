//! Gratuitous ARP: tells the neighbours that an address is here now.

use std::{io, mem, net::Ipv4Addr, os::fd::AsRawFd};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::links::Link;

const FRAME: usize = 42;

/// Broadcasts `addr` is-at `link.mac`, as a request and as a reply: some stacks listen to the one only, some to
/// the other (RFC 5227, 3).
pub(super) fn announce(link: &Link, addr: Ipv4Addr) -> io::Result<()> {
    // Protocol 0: the socket sends and never receives.
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    for operation in [1u16, 2] {
        send(&socket, link.index, &frame(link.mac, addr, operation))?;
    }
    Ok(())
}

fn frame(mac: [u8; 6], addr: Ipv4Addr, operation: u16) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let parts: [&[u8]; 9] = [
        &[0xff; 6],
        &mac,
        &[0x08, 0x06],                         // EtherType: ARP
        &[0x00, 0x01, 0x08, 0x00, 0x06, 0x04], // Ethernet, IPv4, and their address lengths
        &operation.to_be_bytes(),
        &mac,
        &addr.octets(),
        // Ignored in a request; in a reply, the address that the sender has.
        if operation == 1 { &[0; 6] } else { &[0xff; 6] },
        &addr.octets(),
    ];
    let mut at = 0;
    for part in parts {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    frame
}

fn send(socket: &impl AsRawFd, ifindex: u32, frame: &[u8]) -> io::Result<()> {
    let ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)?;
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut to: libc::sockaddr_ll = unsafe { mem::zeroed() };
    to.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    to.sll_ifindex = ifindex;
    // SAFETY: the frame is `frame.len()` readable bytes and `to` a sockaddr_ll of the length given; both live
    // across the call, which keeps neither.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            frame.as_ptr().cast(),
            frame.len(),
            0,
            (&raw const to).cast(),
            length,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_is_an_arp_announcement() {
        let frame = frame([2, 0, 0, 0, 0, 7], Ipv4Addr::new(203, 0, 113, 10), 1);
        assert_eq!(
            frame[..],
            [
                255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 8, 6, // Ethernet
                0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 203, 0, 113, 10, // sender
                0, 0, 0, 0, 0, 0, 203, 0, 113, 10, // target
            ]
        );
    }
}
