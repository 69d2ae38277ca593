//! Much data over one TCP connection, both ways, with every byte checked; and as fast as it goes, to compare speeds.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::netns::Netns;
use super::pattern::write_pattern;

/// How long a connection may stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the server says when all that it received was right.
const RIGHT: &str = "right";

/// Serves one connection: its first line says what happens next.
pub(super) fn serve(stream: TcpStream) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_mins(1)))?;
    let mut reader = BufReader::new(&stream);
    let mut order = String::new();
    reader.read_line(&mut order)?;
    match order.trim().split_once(' ') {
        Some(("give", length)) => write_pattern(&mut &stream, parse(length)?, || ()),
        Some(("take", length)) => {
            write_pattern(&mut Compare(&mut reader), parse(length)?, || ())?;
            writeln!(&stream, "{RIGHT}")
        }
        Some(("pour", milliseconds)) => pour(&stream, Duration::from_millis(parse(milliseconds)?)),
        Some(("drain", _)) => {
            let drained = drain(&mut reader)?;
            writeln!(&stream, "{drained}")
        }
        _ => Err(io::Error::other(format!("no such order: {order}"))),
    }
}

/// Receives `length` bytes of the pattern from a bulk server and compares them.
pub fn download(ns: &Netns, server: SocketAddrV4, length: u64) -> Result<()> {
    let stream = order(ns, server, &format!("give {length}"))?;
    write_pattern(&mut Compare(&mut &stream), length, || ())
        .with_context(|| format!("download {length} bytes from {server}"))
}

/// Sends `length` bytes of the pattern to a bulk server, which compares them.
pub fn upload(ns: &Netns, server: SocketAddrV4, length: u64) -> Result<()> {
    let stream = order(ns, server, &format!("take {length}"))?;
    let what = || format!("upload {length} bytes to {server}");
    write_pattern(&mut &stream, length, || ()).with_context(what)?;
    let verdict = line(&stream).with_context(what)?;
    ensure!(verdict == RIGHT, "{}: the server says `{verdict}`", what());
    Ok(())
}

/// Bits per second that one connection downloads.
pub fn download_speed(ns: &Netns, server: SocketAddrV4, time: Duration) -> Result<f64> {
    let stream = order(ns, server, &format!("pour {}", time.as_millis()))?;
    let begin = Instant::now();
    let bytes = drain(&mut &stream)?;
    Ok(per_second(bytes, begin.elapsed()))
}

/// Bits per second that one connection uploads: what the server received, until it has received it.
pub fn upload_speed(ns: &Netns, server: SocketAddrV4, time: Duration) -> Result<f64> {
    let stream = order(ns, server, "drain all")?;
    let begin = Instant::now();
    pour(&stream, time)?;
    stream.shutdown(Shutdown::Write)?;
    let bytes: u64 = line(&stream)?.parse()?;
    Ok(per_second(bytes, begin.elapsed()))
}

fn order(ns: &Netns, server: SocketAddrV4, order: &str) -> Result<TcpStream> {
    let stream = ns
        .run(|| TcpStream::connect_timeout(&server.into(), PATIENCE))
        .with_context(|| format!("connect to {server}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(&stream, "{order}")?;
    Ok(stream)
}

fn line(stream: &TcpStream) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

fn parse(number: &str) -> io::Result<u64> {
    number.parse().map_err(io::Error::other)
}

fn pour(mut stream: &TcpStream, time: Duration) -> io::Result<()> {
    let block = vec![0u8; 256 * 1024];
    let end = Instant::now() + time;
    while Instant::now() < end {
        stream.write_all(&block)?;
    }
    Ok(())
}

fn drain(from: &mut impl Read) -> io::Result<u64> {
    let mut block = vec![0u8; 256 * 1024];
    let mut bytes = 0;
    loop {
        match from.read(&mut block)? {
            0 => return Ok(bytes),
            n => bytes += n as u64,
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a speed, to a few digits")]
fn per_second(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64()
}

/// Reads as much as is "written" to it, and fails where it differs.
struct Compare<'a, R>(&'a mut R);

impl<R: Read> Write for Compare<'_, R> {
    fn write(&mut self, expected: &[u8]) -> io::Result<usize> {
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got)?;
        if got == expected { Ok(got.len()) } else { Err(io::Error::other("the bytes are not those sent")) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
