//! Programs that count what was sent and lost: raw tracepoint programs, pinned as links, so that they outlive the daemon.

use std::io;

use aya::Ebpf;
use aya::programs::links::FdLink;
use aya::programs::{ProgramError, RawTracePoint};
use nat_common::abi::program;

use super::btf::Btf;
use super::error::Error;
use super::pins::{self, Pins};
use super::sys::errno;
use crate::host::namespace;

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// The load-time constant by which these programs know the gateway's devices; `None` when the kernel does not tell where
/// it keeps what they look at.
pub(crate) fn places() -> Option<[u32; 4]> {
    let data = std::fs::read(VMLINUX).ok()?;
    let btf = Btf::parse(&data)?;
    Some([
        btf.offset("net_device", "ifindex")?,
        btf.offset("net_device", "nd_net")?,
        btf.offset("net", "ns")? + btf.offset("ns_common", "inum")?,
        u32::try_from(namespace::current().ok()?).ok()?,
    ])
}

/// Loads, attaches and pins them, in place of an earlier daemon's. A gateway works without: what it then cannot know is said.
pub(super) fn attach(ebpf: &mut Ebpf, pins: &Pins, places: Option<[u32; 4]>) -> Result<(), Error> {
    let mut missing = Vec::new();
    for (name, tracepoint) in program::LOST {
        let pin = pins.lost_link(name);
        // Two of them would count everything twice, and such a link takes no other program.
        pins::remove(&pin)?;
        if places.is_none() {
            missing.push(tracepoint);
            continue;
        }
        match attach_one(ebpf, name, tracepoint) {
            Ok(link) => {
                link.pin(&pin).map_err(|e| Error::pin("pin the link at", &pin)(io::Error::other(e)))?;
            }
            Err(e) => {
                tracing::debug!(tracepoint, error = %e, errno = errno(&e), "not attached");
                missing.push(tracepoint);
            }
        }
    }
    if !missing.is_empty() {
        tracing::warn!(
            "packets that are lost after a redirect are not all counted: this kernel lacks BTF or the tracepoints {}",
            missing.join(", ")
        );
    }
    Ok(())
}

fn attach_one(ebpf: &mut Ebpf, name: &'static str, tracepoint: &str) -> Result<FdLink, ProgramError> {
    let program: &mut RawTracePoint =
        ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()?;
    program.load()?;
    let id = program.attach(tracepoint)?;
    Ok(program.take_link(id)?.into())
}

/// Whether packets lost after a redirect are counted, all kinds of them.
pub fn is_counted(pins: &Pins) -> bool {
    program::LOST.iter().all(|(name, _)| pins.lost_link(name).exists())
}
