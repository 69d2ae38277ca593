//! Hostile hosts: frames as they are, from either wire, with a label in them that any capture shows.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::netns::Netns;
use super::tap::{Direction, Frame, Injector, Tap, mac_of};
use super::topology::Arms;
use super::wait::wait_until;
use super::whole::Lab;
use crate::packet::Packet;

/// An 802.1Q or 802.1ad tag: ethertype, then priority and VLAN.
pub type Tag = (u16, u16);

/// Ethernet address of the hostile host outside.
pub const E_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xee, 0xee];
/// Ethernet address of the hostile host inside.
pub const M_MAC: [u8; 6] = [0x02, 0, 0, 0, 0x66, 0x66];

const OPEN: &[u8] = b"hostile<";
/// "Local experimental ethertype" (IEEE 802): nobody's protocol, so the kernel gets it and does nothing.
const FENCE: [u8; 2] = [0x88, 0xb5];

/// A payload that names the packet it is in.
pub fn label(name: &str) -> Vec<u8> {
    [OPEN, name.as_bytes(), b">"].concat()
}

/// The name in a frame that carries a [`label`] anywhere, be it translated, tagged or quoted.
pub fn label_in(frame: &[u8]) -> Option<String> {
    let at = frame.windows(OPEN.len()).position(|w| w == OPEN)? + OPEN.len();
    let rest = &frame[at..];
    let end = rest.iter().position(|b| *b == b'>')?;
    Some(String::from_utf8_lossy(&rest[..end]).into_owned())
}

/// Puts tags in front of a frame's ethertype, the first one outermost.
pub fn tagged(frame: &[u8], tags: &[Tag]) -> Vec<u8> {
    let words = tags.iter().flat_map(|(kind, word)| [kind.to_be_bytes(), word.to_be_bytes()]).flatten();
    [&frame[..12], &words.collect::<Vec<u8>>(), &frame[12..]].concat()
}

/// A sender of frames to one interface of the gateway.
#[derive(Debug)]
pub struct Raw {
    injector: Injector,
    smac: [u8; 6],
    dmac: [u8; 6],
}

impl Raw {
    /// E: at the outside wire.
    pub fn outside(lab: &Lab) -> Result<Self> {
        let dmac = mac_of(lab.gw(), lab.topology().outside()[0])?;
        if lab.topology().arms == Arms::One {
            // The bridge would keep the outermost tag in the frame's metadata, where native XDP does not see it.
            lab.node("lan")
                .output("ethtool", &["-K", "gw", "txvlan", "off", "tx-vlan-stag-hw-insert", "off"])?;
        }
        Self::at(lab.node("wan"), "gw0", E_MAC, dmac)
    }

    /// M: at the inside wire.
    pub fn inside(lab: &Lab) -> Result<Self> {
        Self::at(lab.node("lan"), "gw", M_MAC, mac_of(lab.gw(), lab.topology().inside()[0])?)
    }

    /// M at the second inside wire.
    pub fn second_inside(lab: &Lab) -> Result<Self> {
        Self::at(lab.node("lan2"), "gw", M_MAC, mac_of(lab.gw(), "in1")?)
    }

    /// From `device` of `ns` with these addresses.
    pub fn at(ns: &Netns, device: &str, smac: [u8; 6], dmac: [u8; 6]) -> Result<Self> {
        Ok(Self { injector: Injector::open(ns, device)?, smac, dmac })
    }

    /// The same host under another Ethernet address.
    #[must_use]
    pub fn as_mac(mut self, smac: [u8; 6]) -> Self {
        self.smac = smac;
        self
    }

    /// The frame that [`Self::send`] would send.
    pub fn frame(&self, packet: Packet) -> Vec<u8> {
        let dmac = if packet.dmac == [0; 6] { self.dmac } else { packet.dmac };
        packet.macs(self.smac, dmac).build()
    }

    /// Sends a packet; to the gateway's Ethernet address unless the packet has another.
    pub fn send(&self, packet: Packet) -> Result<()> {
        self.send_tagged(packet, &[])
    }

    /// Sends a packet behind tags.
    pub fn send_tagged(&self, packet: Packet, tags: &[Tag]) -> Result<()> {
        self.send_frame(&tagged(&self.frame(packet), tags))
    }

    /// Sends a frame. A full queue is waited for.
    pub fn send_frame(&self, frame: &[u8]) -> Result<()> {
        let full = |e: &anyhow::Error| {
            e.downcast_ref::<std::io::Error>().and_then(std::io::Error::raw_os_error) == Some(libc::ENOBUFS)
        };
        for _ in 0..1000 {
            match self.injector.send(frame) {
                Err(e) if full(&e) => std::thread::yield_now(),
                other => return other,
            }
        }
        self.injector.send(frame)
    }
}

/// Sees what the gateway sends, on both wires, and knows when it has dealt with what it received.
#[derive(Debug)]
pub struct Watch {
    /// Between the gateway and the clients.
    pub inside: Tap,
    /// Between the gateway and the internet.
    pub outside: Tap,
    fences: Vec<(Raw, Tap)>,
}

impl Watch {
    /// Watches both wires.
    pub fn start(lab: &Lab) -> Result<Self> {
        let (i, o) = (lab.topology().inside()[0], lab.topology().outside()[0]);
        Ok(Self {
            inside: lab.inside_tap()?,
            outside: lab.outside_tap()?,
            fences: vec![
                (Raw::inside(lab)?, Tap::start(lab.gw(), i)?),
                (Raw::outside(lab)?, Tap::start(lab.gw(), o)?),
            ],
        })
    }

    /// Returns when all that was sent to the gateway before has been dealt with, and what answers has answered.
    pub fn settle(&self) {
        self.fence();
        // A process of the gateway that answers does so a moment after. That something does not come has no event to
        // wait for.
        std::thread::sleep(Duration::from_millis(100));
    }

    /// Returns when natgw has seen all that was sent to the gateway before.
    pub fn fence(&self) {
        for (raw, tap) in &self.fences {
            tap.clear();
            let frame = [&raw.dmac[..], &raw.smac[..], &FENCE, &[0; 50]].concat();
            wait_until("the gateway to have taken all frames", Duration::from_secs(10), || {
                raw.send_frame(&frame).is_ok()
                    && tap.frames().iter().any(|f| {
                        f.direction == Direction::Received && f.bytes.get(12..14) == Some(&FENCE[..])
                    })
            });
        }
    }

    /// Labels of the frames that the gateway sent, on either wire.
    pub fn labels(&self) -> BTreeSet<String> {
        let mut all = labels(&self.inside);
        all.extend(labels(&self.outside));
        all
    }

    /// Frames that the gateway sent to an address, on either wire.
    pub fn sent_to(&self, addr: Ipv4Addr) -> Vec<String> {
        let to = |tap: &Tap| tap.find(|p, d| d == Direction::Received && p.dst == addr);
        to(&self.inside).iter().chain(&to(&self.outside)).map(ToString::to_string).collect()
    }

    /// Forgets what it has seen.
    pub fn clear(&self) {
        self.inside.clear();
        self.outside.clear();
    }
}

/// Labels of the frames that a tap received.
pub fn labels(tap: &Tap) -> BTreeSet<String> {
    let received = |f: &&Frame| f.direction == Direction::Received;
    tap.frames().iter().filter(received).filter_map(|f| label_in(&f.bytes)).collect()
}

/// A UDP service that notes the labels it receives.
#[derive(Debug)]
pub struct Recorder {
    seen: Arc<Mutex<BTreeSet<String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Recorder {
    /// Listens at `address`, broadcasts included.
    pub fn start(ns: &Netns, address: SocketAddrV4) -> Result<Self> {
        let socket = ns.run(|| UdpSocket::bind(address)).with_context(|| format!("bind udp {address}"))?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        socket.set_broadcast(true)?;
        let (seen, stop) = (Arc::new(Mutex::new(BTreeSet::new())), Arc::new(AtomicBool::new(false)));
        let (all, end) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0u8; 65_536];
            while !end.load(Ordering::Relaxed) {
                let Ok((n, peer)) = socket.recv_from(&mut buffer) else { continue };
                let name = label_in(&buffer[..n]).unwrap_or_else(|| format!("unlabelled from {peer}"));
                all.lock().unwrap_or_else(PoisonError::into_inner).insert(name);
                // Whoever asked gets its own words back, so that a capture shows the answer.
                let _ = socket.send_to(&buffer[..n], peer);
            }
        });
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// The labels that have come in.
    pub fn labels(&self) -> BTreeSet<String> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Forgets them.
    pub fn clear(&self) {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
