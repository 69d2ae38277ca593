//! Captures: `AF_PACKET` sockets read by a thread, so that a test can ask what was on the wire.

use std::fmt;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use libc::{c_int, c_void, sock_filter, sock_fprog};

use super::netns::Netns;
use super::topology::Arms;
use crate::packet::Parsed;

/// Which way a frame went, seen from the node that is tapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Received by the tapped interface. On the ports that face it: sent by the gateway.
    Received,
    /// Sent by the tapped interface.
    Sent,
}

/// A captured frame.
#[derive(Clone)]
pub struct Frame {
    /// Which way it went.
    pub direction: Direction,
    /// From the Ethernet header on.
    pub bytes: Vec<u8>,
}

impl Frame {
    /// Its headers, if it is IPv4.
    pub fn parsed(&self) -> Option<Parsed> {
        Parsed::from_frame(&self.bytes)
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ", self.direction)?;
        match self.parsed() {
            Some(p) => write!(f, "{p}"),
            None => write!(f, "{:02x?}", &self.bytes[..self.bytes.len().min(60)]),
        }
    }
}

/// A running capture of one interface, both directions.
#[derive(Debug)]
pub struct Tap {
    frames: Arc<Mutex<Vec<Frame>>>,
    socket: Arc<OwnedFd>,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Tap {
    /// Captures whole frames on `device` of `ns` from now on.
    pub fn start(ns: &Netns, device: &str) -> Result<Self> {
        Self::start_with(ns, device, None)
    }

    /// Captures frames that a classic BPF filter accepts.
    pub fn start_with(ns: &Netns, device: &str, filter: Option<&[sock_filter]>) -> Result<Self> {
        let socket =
            ns.run(|| open(device, filter)).with_context(|| format!("tap {device} in {}", ns.name()))?;
        let socket = Arc::new(socket);
        let frames = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let reader = {
            let (socket, frames, stop) = (Arc::clone(&socket), Arc::clone(&frames), Arc::clone(&stop));
            std::thread::spawn(move || read(&socket, &frames, &stop))
        };
        Ok(Self { frames, socket, stop, reader: Some(reader) })
    }

    /// Everything captured so far.
    pub fn frames(&self) -> Vec<Frame> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The IPv4 packets captured so far that `want` accepts.
    pub fn find(&self, mut want: impl FnMut(&Parsed, Direction) -> bool) -> Vec<Parsed> {
        let frames = self.frames.lock().unwrap_or_else(PoisonError::into_inner);
        frames.iter().filter_map(|f| f.parsed().filter(|p| want(p, f.direction))).collect()
    }

    /// Waits for a packet that `want` accepts; `None` after `timeout`.
    pub fn wait_for(
        &self,
        timeout: Duration,
        mut want: impl FnMut(&Parsed, Direction) -> bool,
    ) -> Option<Parsed> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(hit) = self.find(&mut want).into_iter().next() {
                return Some(hit);
            }
            if Instant::now() > deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Forgets what was captured so far.
    pub fn clear(&self) {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Frames that the kernel could not deliver to this tap since the last call.
    pub fn lost(&self) -> Result<u32> {
        #[repr(C)]
        #[derive(Default)]
        struct Statistics {
            packets: u32,
            drops: u32,
        }
        let mut stats = Statistics::default();
        let mut length = libc::socklen_t::try_from(size_of::<Statistics>())?;
        // SAFETY: the option writes a tpacket_stats (two u32) to a local of that layout and size.
        let rc = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut stats).cast(),
                &raw mut length,
            )
        };
        if rc == 0 { Ok(stats.drops) } else { Err(io::Error::last_os_error().into()) }
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// Watches an outside wire for frames from the gateway with an inside source. The kernel filters, so a
/// 100 MB download costs it nothing and nothing is lost.
#[derive(Debug)]
pub struct LeakTap(Tap);

impl LeakTap {
    /// Watches `device` of `ns`.
    pub fn start(ns: &Netns, device: &str, arms: Arms) -> Result<Self> {
        Tap::start_with(ns, device, Some(&leak_filter(arms))).map(Self)
    }

    /// The frames that should not have been there.
    pub fn leaked(&self) -> Vec<String> {
        self.0.frames().iter().map(|f| format!("{f:?}")).collect()
    }
}

/// Accepts frames that were not sent by the tapped host, and that are IPv4 from 10/8 or ARP that claims 10/8.
///
/// On the one segment of a one-armed gateway, clients' own broadcasts and frames for other stations pass by:
/// there, only IPv4 addressed to the tapped host counts.
fn leak_filter(arms: Arms) -> Vec<sock_filter> {
    const LOAD_WORD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const LOAD_HALF: u32 = libc::BPF_LD | libc::BPF_H | libc::BPF_ABS;
    const LOAD_BYTE: u32 = libc::BPF_LD | libc::BPF_B | libc::BPF_ABS;
    const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    /// `SKF_AD_OFF + SKF_AD_PKTTYPE`: 0 to us, 1 broadcast, 2 multicast, 3 to another station, 4 outgoing.
    const PACKET_TYPE: u32 = (-0x1000_i32 + 4).cast_unsigned();
    let op =
        |code: u32, jt: u8, jf: u8, k: u32| sock_filter { code: u16::try_from(code).unwrap_or(0), jt, jf, k };
    let arp = match arms {
        Arms::Two => 0x0806,
        Arms::One => 0xffff_ffff,
    };
    let type_check = match arms {
        Arms::Two => op(EQUAL, 8, 0, 4),
        Arms::One => op(EQUAL, 0, 8, 0),
    };
    vec![
        op(LOAD_WORD, 0, 0, PACKET_TYPE),
        type_check,
        op(LOAD_HALF, 0, 0, 12),
        op(EQUAL, 0, 2, 0x0800),
        op(LOAD_BYTE, 0, 0, 26),
        op(EQUAL, 3, 4, 10),
        op(EQUAL, 0, 3, arp),
        op(LOAD_BYTE, 0, 0, 28),
        op(EQUAL, 0, 1, 10),
        op(RETURN, 0, 0, 0xffff),
        op(RETURN, 0, 0, 0),
    ]
}

fn open(device: &str, filter: Option<&[sock_filter]>) -> Result<OwnedFd> {
    let index = nix::net::if_::if_nametoindex(device)?;
    // SAFETY: socket(2) returns a descriptor that nobody else owns, or -1. Protocol 0: nothing arrives
    // before the filter and the interface are set.
    let socket = unsafe {
        let fd = libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        OwnedFd::from_raw_fd(fd)
    };
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(256 << 20))?;
    set_option(&socket, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &libc::timeval { tv_sec: 0, tv_usec: 50_000 })?;
    if let Some(filter) = filter {
        let program = sock_fprog { len: u16::try_from(filter.len())?, filter: filter.as_ptr().cast_mut() };
        set_option(&socket, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)?;
    }
    let all = u16::try_from(libc::ETH_P_ALL)?.to_be();
    // SAFETY: a zeroed sockaddr_ll is valid.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = u16::try_from(libc::AF_PACKET)?;
    address.sll_protocol = all;
    address.sll_ifindex = i32::try_from(index)?;
    let length = libc::socklen_t::try_from(size_of::<libc::sockaddr_ll>())?;
    // SAFETY: bind(2) reads `length` bytes of a local of that size.
    let rc = unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length) };
    if rc == 0 { Ok(socket) } else { Err(io::Error::last_os_error().into()) }
}

/// setsockopt(2) with a plain value.
pub fn set_option<T>(socket: &impl AsRawFd, level: c_int, name: c_int, value: &T) -> Result<()> {
    let length = libc::socklen_t::try_from(size_of::<T>())?;
    let value = std::ptr::from_ref(value).cast::<c_void>();
    // SAFETY: setsockopt(2) reads `length` bytes of a value of that size.
    let rc = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, value, length) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error().into()) }
}

fn read(socket: &OwnedFd, frames: &Mutex<Vec<Frame>>, stop: &AtomicBool) {
    let mut buffer = vec![0u8; 1 << 17];
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: a zeroed sockaddr_ll is valid.
        let mut from: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        let mut length = u32::try_from(size_of::<libc::sockaddr_ll>()).unwrap_or(0);
        // SAFETY: the buffer and the address are locals, passed with their sizes.
        let n = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                buffer.as_mut_ptr().cast(),
                buffer.len(),
                0,
                (&raw mut from).cast(),
                &raw mut length,
            )
        };
        let Ok(n) = usize::try_from(n) else { continue };
        let direction =
            if from.sll_pkttype == libc::PACKET_OUTGOING { Direction::Sent } else { Direction::Received };
        let frame = Frame { direction, bytes: buffer[..n].to_vec() };
        frames.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
    }
}

/// Sends frames as they are, from an interface of a namespace.
#[derive(Debug)]
pub struct Injector(OwnedFd);

impl Injector {
    /// Sends on `device` of `ns`.
    pub fn open(ns: &Netns, device: &str) -> Result<Self> {
        // Accepts nothing: this socket only sends.
        let nothing = sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 };
        ns.run(|| open(device, Some(&[nothing]))).map(Self)
    }

    /// Sends one frame, Ethernet header included.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        // SAFETY: send(2) reads the slice.
        let n = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        if n < 0 { Err(io::Error::last_os_error().into()) } else { Ok(()) }
    }
}

/// Ethernet address of an interface.
pub fn mac_of(ns: &Netns, device: &str) -> Result<[u8; 6]> {
    let out = ns.output("ip", &["-o", "link", "show", "dev", device])?;
    let text = out.split_whitespace().skip_while(|w| *w != "link/ether").nth(1).context("no link/ether")?;
    let mut mac = [0u8; 6];
    for (byte, hex) in mac.iter_mut().zip(text.split(':')) {
        *byte = u8::from_str_radix(hex, 16)?;
    }
    Ok(mac)
}

/// An Ethernet address as `ip` reads it.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|b| format!("{b:02x}")).join(":")
}
