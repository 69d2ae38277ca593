//! Two TAP or TUN devices whose owner carries packets from one to the other: a virtual machine's card, or a VPN.
//!
//! What a hypervisor does for a guest with virtio-net: the guest's kernel leaves checksums and segmentation to its card, a
//! header in front of each frame says so (`struct virtio_net_hdr`), and the host's kernel gets it with the frame.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};

use super::netns::Netns;

/// What the devices carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Ethernet frames with partial checksums and whole TCP segments of up to 64 kB: a virtual machine.
    Machine,
    /// IP packets without any header: a VPN.
    Tunnel,
}

/// Carries packets between two devices until it is dropped.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// Makes a device at each place (namespace and name), and carries what one sends to the other.
    pub fn start(kind: Kind, a: (&Netns, &str), b: (&Netns, &str)) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let open = |(ns, name): (&Netns, &str)| {
            ns.run(|| device(kind, name)).with_context(|| format!("make {name} in {}", ns.name()))
        };
        let (a, b) = (Arc::new(open(a)?), Arc::new(open(b)?));
        let threads = [(Arc::clone(&a), Arc::clone(&b)), (b, a)].map(|(from, to)| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || carry(&from, &to, &stop))
        });
        Ok(Self { stop, threads: threads.into() })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn device(kind: Kind, name: &str) -> Result<File> {
    let file =
        OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data, and all zeros is a value of it.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes().take(libc::IFNAMSIZ - 1)) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    let flags = match kind {
        Kind::Machine => libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR,
        Kind::Tunnel => libc::IFF_TUN | libc::IFF_NO_PI,
    };
    request.ifr_ifru.ifru_flags = libc::c_short::try_from(flags)?;
    // SAFETY: TUNSETIFF reads and writes an ifreq, which outlives the call.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) })
        .context("TUNSETIFF")?;
    if kind == Kind::Machine {
        let offloads = libc::c_ulong::from(libc::TUN_F_CSUM | libc::TUN_F_TSO4);
        // SAFETY: TUNSETOFFLOAD takes a number.
        Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETOFFLOAD, offloads) })
            .context("TUNSETOFFLOAD")?;
    }
    Ok(file)
}

fn carry(mut from: &File, mut to: &File, stop: &AtomicBool) {
    let mut buffer = vec![0u8; 70_000];
    while !stop.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(n) => {
                // A device that is down, or whose queue is full, loses frames as any wire does.
                let _ = to.write(&buffer[..n]);
            }
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                // A timeout or a signal: the loop looks whether it is to stop.
                let _ = poll(&mut fds, 50u8);
            }
            // The device is down or gone (EIO, EBADFD).
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
        }
    }
}
