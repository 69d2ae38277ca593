//! The kernel's connection tracking: its machine-wide limits, raised for a while and put back whatever becomes of the
//! benchmark, and its table in one namespace, counted and emptied.

use std::fs::{self, File, TryLockError};
use std::os::fd::AsRawFd as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use nat_tests::lab::Netns;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";
/// Locked by who has raised the limits, and by its keeper.
const LOCK: &str = "/run/natgw-bench.conntrack.lock";
/// What the limits were, as `<buckets> <max>`. Found at the start only when a keeper was killed.
const SAVED: &str = "/run/natgw-bench.conntrack";

/// The most flows that a part has conntrack carry at once.
pub const MAX_FLOWS: u32 = 1_000_000;

/// Raised limits.
pub struct Limits {
    keeper: Child,
    _lock: File,
}

impl Limits {
    /// Raises them to what [`MAX_FLOWS`] needs: room for twice as many, and as many buckets as entries.
    ///
    /// A shell that waits for the end of its input puts them back. One benchmark at a time: a second one would take the raised
    /// limits for the machine's own, and measure nothing of value anyway.
    pub fn raise() -> Result<Self> {
        let lock = File::create(LOCK).with_context(|| format!("create {LOCK} (this needs root)"))?;
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            eprintln!("natgw-bench: waiting for another benchmark on this machine to end");
            lock.lock().with_context(|| format!("lock {LOCK}"))?;
        }
        let (buckets, max) = match fs::read_to_string(SAVED).ok().as_deref().and_then(parse) {
            Some(saved) => saved,
            None => (read(BUCKETS)?, read(MAX)?),
        };
        fs::write(SAVED, format!("{buckets} {max}")).with_context(|| format!("write {SAVED}"))?;
        let script =
            format!("read -r nothing; echo {buckets} > {BUCKETS}; echo {max} > {MAX}; rm -f {SAVED}");
        let keeper = Command::new("sh")
            .args(["-c", &script, "natgw-bench-conntrack"])
            .stdin(Stdio::piped())
            // Nothing is written there: the descriptor keeps the lock until the limits are back.
            .stdout(lock.try_clone().with_context(|| LOCK.to_owned())?)
            .stderr(Stdio::null())
            // Out of reach of the terminal's Ctrl-C.
            .process_group(0)
            .spawn()
            .context("start sh")?;
        let limits = Self { keeper, _lock: lock };
        let wanted = u64::from(2 * MAX_FLOWS);
        for (path, value) in [(BUCKETS, buckets), (MAX, max)] {
            if value < wanted {
                fs::write(path, wanted.to_string()).with_context(|| format!("write {wanted} to {path}"))?;
            }
        }
        Ok(limits)
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
    }
}

/// Connections that conntrack holds in the namespace.
pub fn connections(ns: &Netns) -> Result<u64> {
    Ok(ns.read_sysctl("net.netfilter.nf_conntrack_count")?.parse()?)
}

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

fn read(path: &str) -> Result<u64> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path} (is nf_conntrack loaded?)"))?;
    text.trim().parse().with_context(|| path.to_owned())
}

fn parse(saved: &str) -> Option<(u64, u64)> {
    let (buckets, max) = saved.trim().split_once(' ')?;
    Some((buckets.parse().ok()?, max.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_saved_is_read_back() {
        assert_eq!(parse("262144 131072"), Some((262_144, 131_072)));
        assert_eq!(parse(""), None);
        assert_eq!(parse("262144"), None);
    }
}
