//! ARP frames (RFC 826) on raw sockets.

use std::{
    io, mem,
    net::Ipv4Addr,
    os::fd::{AsRawFd, OwnedFd},
    time::Duration,
};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// Frames that go out one after the other without a pause, and the pause: 16,000 frames a second are 11 Mbit/s with their
/// preambles and gaps, about 1 % of a Gigabit link, which is where storm control of broadcasts is set at its tightest.
pub(super) const BURST: usize = 64;
/// See [`BURST`].
pub(super) const PAUSE: Duration = Duration::from_millis(4);

const FRAME: usize = 42;

/// `ar_op`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Who has it?
    Request = 1,
    /// I have it.
    Reply = 2,
}

/// What an ARP frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Arp {
    pub(super) operation: Operation,
    pub(super) sender: ([u8; 6], Ipv4Addr),
    pub(super) target: ([u8; 6], Ipv4Addr),
}

impl Arp {
    /// `addr` is at `mac` (RFC 5227, 3). In a request the target's Ethernet address is ignored; in a reply it is the address
    /// that the reply is for.
    pub(super) fn announcement(operation: Operation, mac: [u8; 6], addr: Ipv4Addr) -> Self {
        let target = if operation == Operation::Request { [0; 6] } else { [0xff; 6] };
        Self { operation, sender: (mac, addr), target: (target, addr) }
    }

    /// Does anybody have `addr`? The sender claims no address, so that nobody notes down a wrong one (RFC 5227, 2.1.1).
    pub(super) fn probe(mac: [u8; 6], addr: Ipv4Addr) -> Self {
        Self { operation: Operation::Request, sender: (mac, Ipv4Addr::UNSPECIFIED), target: ([0; 6], addr) }
    }

    /// As a broadcast.
    pub(super) fn frame(&self) -> [u8; FRAME] {
        let Self { operation, sender, target } = self;
        let mut frame = [0; FRAME];
        let parts: [&[u8]; 9] = [
            &[0xff; 6],
            &sender.0,
            &[0x08, 0x06],                         // EtherType: ARP
            &[0x00, 0x01, 0x08, 0x00, 0x06, 0x04], // Ethernet, IPv4, and their address lengths
            &(*operation as u16).to_be_bytes(),
            &sender.0,
            &sender.1.octets(),
            &target.0,
            &target.1.octets(),
        ];
        let mut at = 0;
        for part in parts {
            frame[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        frame
    }

    /// `None` when it is no ARP for IPv4 on Ethernet.
    pub(super) fn parse(frame: &[u8]) -> Option<Self> {
        let body: &[u8; 30] = frame.get(12..FRAME)?.try_into().ok()?;
        let (head, body) = body.split_at(10);
        let operation = match head {
            [8, 6, 0, 1, 8, 0, 6, 4, 0, 1] => Operation::Request,
            [8, 6, 0, 1, 8, 0, 6, 4, 0, 2] => Operation::Reply,
            _ => return None,
        };
        let mac = |at: usize| body.get(at..at + 6)?.try_into().ok();
        let ip = |at: usize| Some(Ipv4Addr::from(<[u8; 4]>::try_from(body.get(at..at + 4)?).ok()?));
        Some(Self { operation, sender: (mac(0)?, ip(6)?), target: (mac(10)?, ip(16)?) })
    }
}

/// What a socket is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It sends and never receives.
    Send,
    /// It also receives every ARP frame of the namespace.
    Listen,
}

/// A raw socket for ARP on every interface of the namespace. Closing one takes the kernel milliseconds (it waits for an RCU
/// grace period), so one serves many frames.
#[derive(Debug)]
pub(super) struct Socket(OwnedFd);

impl Socket {
    pub(super) fn open(purpose: Purpose) -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        // Without a protocol: such a socket receives nothing.
        let this = Self(socket(AddressFamily::Packet, SockType::Raw, flags, None)?);
        if purpose == Purpose::Listen {
            this.listen()?;
        }
        Ok(this)
    }

    /// Binds to ARP of every interface.
    fn listen(&self) -> io::Result<()> {
        let mut to = address(0)?;
        to.sll_protocol = u16::try_from(libc::ETH_P_ARP).map_err(io::Error::other)?.to_be();
        // SAFETY: `to` is a sockaddr_ll of the length given, which lives across the call.
        let bound = unsafe { libc::bind(self.0.as_raw_fd(), (&raw const to).cast(), length()?) };
        if bound < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    pub(super) fn send(&self, ifindex: u32, arp: &Arp) -> io::Result<()> {
        let frame = arp.frame();
        let to = address(ifindex)?;
        // SAFETY: the frame is `frame.len()` readable bytes and `to` a sockaddr_ll of the length given; both live
        // across the call, which keeps neither.
        let sent = unsafe {
            libc::sendto(
                self.0.as_raw_fd(),
                frame.as_ptr().cast(),
                frame.len(),
                0,
                (&raw const to).cast(),
                length()?,
            )
        };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next frame that is waiting, with the index of its interface. What is no ARP is skipped.
    pub(super) fn receive(&self) -> Option<(u32, Arp)> {
        loop {
            let mut frame = [0u8; FRAME];
            let mut from = address(0).ok()?;
            let mut room = length().ok()?;
            // SAFETY: the frame is `frame.len()` writable bytes, `from` a sockaddr_ll of `room` bytes; all of them live across
            // the call, which keeps none.
            let got = unsafe {
                libc::recvfrom(
                    self.0.as_raw_fd(),
                    frame.as_mut_ptr().cast(),
                    frame.len(),
                    0,
                    (&raw mut from).cast(),
                    &raw mut room,
                )
            };
            let Ok(got) = usize::try_from(got) else {
                // An interface that went down is told of once (ENETDOWN); others go on.
                match io::Error::last_os_error().raw_os_error() {
                    Some(libc::ENETDOWN | libc::EINTR) => continue,
                    _ => return None,
                }
            };
            if let (Some(arp), Ok(ifindex)) =
                (frame.get(..got).and_then(Arp::parse), u32::try_from(from.sll_ifindex))
            {
                return Some((ifindex, arp));
            }
        }
    }
}

fn address(ifindex: u32) -> io::Result<libc::sockaddr_ll> {
    // SAFETY: all-zero bytes are a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?;
    address.sll_ifindex = i32::try_from(ifindex).map_err(io::Error::other)?;
    Ok(address)
}

fn length() -> io::Result<libc::socklen_t> {
    libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>()).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];
    const ADDR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    #[test]
    fn the_frame_is_an_arp_announcement() {
        let frame = Arp::announcement(Operation::Request, MAC, ADDR).frame();
        assert_eq!(
            frame[..],
            [
                255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 7, 8, 6, // Ethernet
                0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 7, 203, 0, 113, 10, // sender
                0, 0, 0, 0, 0, 0, 203, 0, 113, 10, // target
            ]
        );
    }

    #[test]
    fn a_probe_claims_no_address() {
        let frame = Arp::probe(MAC, ADDR).frame();
        assert_eq!(frame[28..32], [0; 4], "sender");
        assert_eq!(frame[38..42], ADDR.octets(), "target");
    }

    #[test]
    fn frames_are_read_as_they_were_written_and_others_are_not() {
        for arp in [Arp::probe(MAC, ADDR), Arp::announcement(Operation::Reply, MAC, ADDR)] {
            assert_eq!(Arp::parse(&arp.frame()), Some(arp));
            assert_eq!(Arp::parse(&arp.frame()[..41]), None, "cut off");
            let mut other = arp.frame();
            other[18] = 8;
            assert_eq!(Arp::parse(&other), None, "longer addresses than Ethernet's");
        }
        assert_eq!(Arp::parse(&[]), None);
    }
}
