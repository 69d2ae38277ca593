//! Real sockets at both ends: a server that many may connect to, and clients that do.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use nat_tests::lab::tap::set_option;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, connect, getsockopt, listen, socket,
    sockopt,
};

use super::delays::Delays;
use super::lane::{Kind, Lane, client_of, server_of};
use crate::cores;

/// Where the server listens.
const PORT: u16 = 7000;
/// Connections that a client has under way at a time.
const AT_A_TIME: usize = 64;

/// A server that gives back what it is sent, and closes when the client has.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Server {
    /// Starts it at a lane's server end, on a core. It ends at the first client with an address that the gateway
    /// should have translated.
    pub fn start(lane: &Lane, cpu: usize) -> Result<Self> {
        let (stop, accepted) = <(Arc<AtomicBool>, Arc<AtomicU64>)>::default();
        let listener = lane.srv.run(|| TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT)))?;
        listen(&listener, Backlog::new(4096)?)?;
        listener.set_nonblocking(true)?;
        let kind = lane.kind;
        let (to_stop, counter) = (Arc::clone(&stop), Arc::clone(&accepted));
        let thread = std::thread::spawn(move || {
            cores::pin(0, cpu)?;
            serve(&listener, &to_stop, &counter, kind)
        });
        Ok(Self { stop, accepted, thread: Some(thread) })
    }

    /// Connections so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Stops it; an error if it had ended by itself.
    pub fn finish(mut self) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().context("no thread")?.join().map_err(|_| anyhow!("the server panicked"))?
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(listener: &TcpListener, stop: &AtomicBool, accepted: &AtomicU64, kind: Kind) -> Result<()> {
    const LISTENER: u64 = u64::MAX;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut streams: Vec<Option<TcpStream>> = Vec::new();
    let mut free = Vec::new();
    let mut events = [EpollEvent::empty(); 128];
    while !stop.load(Ordering::Relaxed) {
        let ready = wait(&epoll, &mut events)?;
        for event in &events[..ready] {
            if event.data() != LISTENER {
                let slot = event.data() as usize;
                if !answer(streams[slot].as_mut().context("an event for a closed connection")?) {
                    streams[slot] = None;
                    free.push(slot);
                }
                continue;
            }
            while let Ok((stream, peer)) = listener.accept() {
                ensure!(
                    kind.may_be_source(peer),
                    "the server sees a client at {peer}: not translated as it should be"
                );
                accepted.fetch_add(1, Ordering::Relaxed);
                stream.set_nonblocking(true)?;
                let slot = free.pop().unwrap_or_else(|| {
                    streams.push(None);
                    streams.len() - 1
                });
                epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, slot as u64))?;
                streams[slot] = Some(stream);
            }
        }
    }
    Ok(())
}

/// Gives back what has come; whether the connection goes on.
fn answer(stream: &mut TcpStream) -> bool {
    let mut data = [0; 16];
    match stream.read(&mut data) {
        Ok(0) => false,
        Ok(length) => stream.write_all(&data[..length]).is_ok(),
        Err(e) => e.kind() == ErrorKind::WouldBlock,
    }
}

/// Connects and closes until told to stop, from many addresses to many, and counts. Call it at the client's end.
pub fn connect_and_close(stop: &AtomicBool, done: &AtomicU64) -> Result<()> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    let mut number = 0;
    let mut open = |slot: usize| -> Result<OwnedFd> {
        number += 1;
        let fd = socket_from(number, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)?;
        match connect(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(target(number), PORT))) {
            Ok(()) | Err(Errno::EINPROGRESS) => {}
            Err(e) => return Err(e).context("connect"),
        }
        epoll.add(&fd, EpollEvent::new(EpollFlags::EPOLLOUT, slot as u64))?;
        Ok(fd)
    };
    let mut sockets: Vec<Option<OwnedFd>> =
        (0..AT_A_TIME).map(|slot| open(slot).map(Some)).collect::<Result<_>>()?;
    let mut events = [EpollEvent::empty(); AT_A_TIME];
    // What is still under way when it is told to stop is finished: it must not disturb whoever comes next.
    while sockets.iter().any(Option::is_some) {
        let ready = wait(&epoll, &mut events)?;
        for event in &events[..ready] {
            let slot = event.data() as usize;
            let fd = sockets[slot].take().context("an event for a closed connection")?;
            let error = getsockopt(&fd, sockopt::SocketError)?;
            ensure!(error == 0, "a connection failed: {}", Errno::from_raw(error));
            done.fetch_add(1, Ordering::Relaxed);
            drop(fd);
            if !stop.load(Ordering::Relaxed) {
                sockets[slot] = Some(open(slot)?);
            }
        }
    }
    Ok(())
}

/// From connect to the first byte of an answer, for `count` connections one after the other. Call it at the client's
/// end.
pub fn first_bytes(first: usize, count: usize) -> Result<Delays> {
    let mut delays = Delays::default();
    for number in first..first + count {
        let fd = socket_from(number, SockFlag::SOCK_CLOEXEC)?;
        let begin = Instant::now();
        connect(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(target(number), PORT)))
            .context("connect")?;
        let mut stream = TcpStream::from(fd);
        stream.write_all(b"?")?;
        let mut byte = [0];
        stream.read_exact(&mut byte).context("no answer")?;
        delays.add(begin.elapsed().as_nanos() as u64);
    }
    Ok(delays)
}

/// Every client address talks to every server address before a pair comes again.
fn target(number: usize) -> Ipv4Addr {
    server_of(number / 64)
}

/// A socket bound to one of the client's addresses; the port is left to connect(2), which may use one again for
/// another destination.
fn socket_from(number: usize, flags: SockFlag) -> Result<OwnedFd> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, flags, None)?;
    set_option(&fd, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, &1i32)?;
    bind(fd.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(client_of(number), 0)))?;
    Ok(fd)
}

/// Events, or none after a while.
fn wait(epoll: &Epoll, events: &mut [EpollEvent]) -> Result<usize> {
    match epoll.wait(events, EpollTimeout::from(50u8)) {
        Err(Errno::EINTR) => Ok(0),
        other => Ok(other?),
    }
}
