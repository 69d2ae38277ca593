//! The kernel's connection tracking, tuned so that it is a fair opponent, and put back afterwards.

use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::knobs::{self, Knobs};
use crate::lab::Netns;

const MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
const BUCKETS: &str = "/sys/module/nf_conntrack/parameters/hashsize";

/// A table that is large enough, for as long as this lives. It is one table for the whole machine, and only the first
/// namespace may size it.
#[derive(Debug)]
pub struct Conntrack(#[expect(dead_code, reason = "puts the sizes back when dropped")] Knobs);

impl Conntrack {
    /// Makes room for twice as many flows, with a bucket for each of the two entries of a flow.
    pub fn with_room(flows: u32) -> Result<Self> {
        // The files are there once the module is; where it is built in, they always are.
        let _ = Command::new("modprobe").arg("nf_conntrack").stderr(Stdio::null()).status();
        let wanted = 2 * u64::from(flows);
        let larger = |path| -> Result<String> {
            Ok(knobs::read(path)?.parse().map_or(wanted, |n: u64| n.max(wanted)).to_string())
        };
        Ok(Self(Knobs::set(&[(BUCKETS, &larger(BUCKETS)?), (MAX, &larger(MAX)?)])?))
    }

    /// Entries in a namespace.
    pub fn count(ns: &Netns) -> Result<u64> {
        Ok(ns.read_sysctl("net.netfilter.nf_conntrack_count")?.parse()?)
    }

    /// Timeouts of a namespace that outlast a measurement.
    pub fn age_slowly(ns: &Netns) -> Result<()> {
        for name in ["udp_timeout", "udp_timeout_stream", "tcp_timeout_time_wait", "tcp_timeout_close"] {
            ns.sysctl(&format!("net.netfilter.nf_conntrack_{name}"), "600")?;
        }
        Ok(())
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
}
