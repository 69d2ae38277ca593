//! Servers on threads in a namespace: HTTP, UDP request and reply, TCP. Each says whom it saw.

use std::io::{self, BufRead as _, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::bulk;
use super::netns::Netns;
use super::pattern::write_pattern;

/// Size of `/100mb`.
pub const DOWNLOAD: u64 = 100 * 1024 * 1024;

const POLL: Duration = Duration::from_millis(50);

/// Size of `/3mb`.
pub const SMALL: u64 = 3 * 1024 * 1024;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddrV4,
    seen: Arc<Mutex<Vec<SocketAddrV4>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// HTTP/1.1: `/ip` answers with the peer's address and port, `/100mb` with [`DOWNLOAD`] bytes of
    /// [`write_pattern`], `/3mb` with fewer, `/slow` with the same at about 10 MB/s.
    pub fn http(ns: &Netns, address: SocketAddrV4) -> Result<Self> {
        Self::tcp(ns, address, Serve::PerConnection(serve_http))
    }

    /// Says the peer's address and port in a line, then echoes.
    pub fn tcp_echo(ns: &Netns, address: SocketAddrV4) -> Result<Self> {
        Self::tcp(ns, address, Serve::PerConnection(serve_echo))
    }

    /// Says the peer's address and port in a line, then holds the connection open. No thread per connection.
    pub fn tcp_hold(ns: &Netns, address: SocketAddrV4) -> Result<Self> {
        Self::tcp(ns, address, Serve::Hold)
    }

    /// Gives and takes much data, see [`super::bulk`].
    pub fn bulk(ns: &Netns, address: SocketAddrV4) -> Result<Self> {
        Self::tcp(ns, address, Serve::PerConnection(bulk::serve))
    }

    /// Answers every datagram with the source it saw, a space, and the datagram.
    pub fn udp_echo(ns: &Netns, address: SocketAddrV4) -> Result<Self> {
        let socket = ns.run(|| UdpSocket::bind(address)).with_context(|| format!("bind udp {address}"))?;
        socket.set_read_timeout(Some(POLL))?;
        Ok(Self::start(address, move |seen, stop| {
            let mut buffer = vec![0u8; 65_536];
            while !stop.load(Ordering::Relaxed) {
                let Ok((n, peer)) = socket.recv_from(&mut buffer) else { continue };
                note(seen, peer);
                let reply = [peer.to_string().as_bytes(), b" ", &buffer[..n]].concat();
                // The peer may be gone; its next question will tell.
                let _ = socket.send_to(&reply, peer);
            }
        }))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// The sources it has seen, one per connection or datagram.
    pub fn seen(&self) -> Vec<SocketAddrV4> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tcp(ns: &Netns, address: SocketAddrV4, serve: Serve) -> Result<Self> {
        let listener =
            ns.run(|| TcpListener::bind(address)).with_context(|| format!("bind tcp {address}"))?;
        // SAFETY: listen(2) on a descriptor we own; std's backlog is too small for thousands at once.
        unsafe { libc::listen(listener.as_raw_fd(), 4096) };
        let timeout = libc::timeval { tv_sec: 0, tv_usec: 50_000 };
        super::tap::set_option(&listener, libc::SOL_SOCKET, libc::SO_RCVTIMEO, &timeout)?;
        Ok(Self::start(address, move |seen, stop| {
            let mut held = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let Ok((mut stream, peer)) = listener.accept() else { continue };
                // An accepted socket inherits the listener's timeout.
                let _ = stream.set_read_timeout(None);
                note(seen, peer);
                match serve {
                    Serve::Hold => {
                        let _ = writeln!(stream, "{peer}");
                        held.push(stream);
                    }
                    Serve::PerConnection(f) => {
                        // A client that hangs up in the middle is a test's business, not the server's.
                        std::thread::spawn(move || f(stream));
                    }
                }
            }
        }))
    }

    fn start(
        address: SocketAddrV4,
        body: impl FnOnce(&Mutex<Vec<SocketAddrV4>>, &AtomicBool) + Send + 'static,
    ) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (seen, stop) = (Arc::clone(&seen), Arc::clone(&stop));
            std::thread::spawn(move || body(&seen, &stop))
        };
        Self { address, seen, stop, thread: Some(thread) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The any-address at `port`.
pub const fn any(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port)
}

#[derive(Clone, Copy)]
enum Serve {
    Hold,
    PerConnection(fn(TcpStream) -> io::Result<()>),
}

fn note(seen: &Mutex<Vec<SocketAddrV4>>, peer: SocketAddr) {
    if let SocketAddr::V4(peer) = peer {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(peer);
    }
}

fn serve_echo(mut stream: TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    writeln!(stream, "{peer}")?;
    let mut buffer = vec![0u8; 65_536];
    loop {
        let n = stream.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        stream.write_all(&buffer[..n])?;
    }
}

fn serve_http(mut stream: TcpStream) -> io::Result<()> {
    let peer = stream.peer_addr()?;
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut head = |status: &str, length: u64| {
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n")
    };
    match request.split(' ').nth(1).unwrap_or("") {
        "/ip" => {
            let body = format!("{peer}\n");
            head("200 OK", body.len() as u64)?;
            stream.write_all(body.as_bytes())
        }
        "/100mb" => {
            head("200 OK", DOWNLOAD)?;
            write_pattern(&mut stream, DOWNLOAD, || ())
        }
        "/3mb" => {
            head("200 OK", SMALL)?;
            write_pattern(&mut stream, SMALL, || ())
        }
        "/slow" => {
            head("200 OK", DOWNLOAD / 5)?;
            // 64 KB every 6 ms.
            write_pattern(&mut stream, DOWNLOAD / 5, || std::thread::sleep(Duration::from_millis(6)))
        }
        _ => head("404 Not Found", 0),
    }
}
