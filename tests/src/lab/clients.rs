//! What clients do: the real `curl` and `ping`, and sockets where a test needs a certain source port.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket, sockopt,
};

use super::netns::{Netns, check};
use super::pattern::write_pattern;
use super::servers::any;

/// How long a client waits for an answer.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Body of an HTTP resource, by curl.
pub fn curl(ns: &Netns, url: &str) -> Result<String> {
    check("curl", ns.command("curl").args(["-sS", "--fail", "--max-time", "10", url]))
}

/// SHA-256 of an HTTP resource, by `curl | sha256sum`.
pub fn download(ns: &Netns, url: &str) -> Result<String> {
    let script = format!("set -o pipefail 2>/dev/null; curl -sS --fail --max-time 60 {url} | sha256sum");
    let out = check("curl", ns.command("bash").args(["-c", &script]))?;
    Ok(out.split_whitespace().next().unwrap_or_default().to_owned())
}

/// SHA-256 of the first `length` bytes of the pattern that the HTTP server sends.
pub fn expected_sha256(length: u64) -> Result<String> {
    let mut child = Command::new("sha256sum").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("no stdin")?;
    write_pattern(&mut stdin, length, || ())?;
    drop(stdin);
    let out = String::from_utf8(child.wait_with_output()?.stdout)?;
    Ok(out.split_whitespace().next().unwrap_or_default().to_owned())
}

/// Pings; the number of replies.
pub fn ping(ns: &Netns, to: Ipv4Addr, count: u32, extra: &[&str]) -> Result<u32> {
    let mut command = ns.command("ping");
    command.args(["-n", "-c", &count.to_string(), "-i", "0.1", "-W", "1"]).args(extra).arg(to.to_string());
    let out = command.stdin(Stdio::null()).output().context("start ping (Debian package iputils-ping)")?;
    let text = String::from_utf8_lossy(&out.stdout);
    let summary = text.lines().find(|l| l.contains("packets transmitted")).unwrap_or_default();
    let received = summary.split(", ").find_map(|part| part.strip_suffix(" received"));
    received
        .and_then(|n| n.trim().parse().ok())
        .with_context(|| format!("ping said: {text}{}", String::from_utf8_lossy(&out.stderr)))
}

/// Asks a [`super::servers::Server::udp_echo`] from `port` (0: any): the source that it saw.
pub fn ask_udp(ns: &Netns, port: u16, server: SocketAddrV4) -> Result<SocketAddrV4> {
    let socket = ns.run(|| UdpSocket::bind(any(port)))?;
    ask_udp_on(&socket, server)
}

/// The same on a socket that stays open.
pub fn ask_udp_on(socket: &UdpSocket, server: SocketAddrV4) -> Result<SocketAddrV4> {
    let question = format!("what-is-my-address-{server}");
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send_to(question.as_bytes(), server)?;
    let mut buffer = [0u8; 2048];
    let (n, from) = socket.recv_from(&mut buffer).with_context(|| format!("no answer from udp {server}"))?;
    let answer = String::from_utf8_lossy(&buffer[..n]).into_owned();
    let (seen, echoed) = answer.split_once(' ').context("malformed answer")?;
    if echoed != question || from != server.into() {
        bail!("asked {server} `{question}`, got `{echoed}` from {from}");
    }
    Ok(seen.parse()?)
}

/// Connects from `port` (0: any) to one of the TCP servers: the stream, and the source that the server saw.
pub fn connect_tcp(ns: &Netns, port: u16, server: SocketAddrV4) -> Result<(TcpStream, SocketAddrV4)> {
    ns.run(|| connect_here(port, server))
}

/// The same in the namespace of the calling thread.
pub fn connect_here(port: u16, server: SocketAddrV4) -> Result<(TcpStream, SocketAddrV4)> {
    let fd = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    if port != 0 {
        setsockopt(&fd, sockopt::ReuseAddr, &true)?;
        bind(fd.as_raw_fd(), &SockaddrIn::from(any(port)))?;
    }
    // Also bounds connect(2).
    let timeout = libc::timeval { tv_sec: 10, tv_usec: 0 };
    super::tap::set_option(&fd, libc::SOL_SOCKET, libc::SO_SNDTIMEO, &timeout)?;
    connect(fd.as_raw_fd(), &SockaddrIn::from(server)).with_context(|| format!("connect to {server}"))?;
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut line = String::new();
    // One byte at a time: what follows the line stays in the socket.
    BufReader::with_capacity(1, &stream).read_line(&mut line)?;
    let seen = line.trim().parse().with_context(|| format!("{server} said `{line}`"))?;
    Ok((stream, seen))
}

/// Sends `data` to an echo server and checks that it comes back.
pub fn echo(stream: &mut TcpStream, data: &[u8]) -> Result<()> {
    stream.write_all(data)?;
    let mut back = vec![0u8; data.len()];
    stream.read_exact(&mut back)?;
    if back != data {
        bail!("{} bytes came back changed", data.len());
    }
    Ok(())
}
