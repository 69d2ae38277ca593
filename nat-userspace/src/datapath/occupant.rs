//! Whose XDP program is on an interface, and how it gets off there.

use std::fmt;
use std::io::ErrorKind;

use aya::programs::links::{LinkError, LinkType};
use aya::programs::tc::{SchedClassifier, TcAttachType};
use aya::programs::{loaded_links, loaded_programs};
use futures_util::TryStreamExt as _;
use nat_common::abi::program;
use rtnetlink::packet_route::link::{LinkAttribute, LinkXdp, XdpAttached};

use super::sys;
use crate::model::interface::XdpMode;

/// An XDP program on an interface, as the kernel tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occupant {
    /// Interface.
    pub interface: String,
    /// Number of the program.
    pub program: u32,
    /// Name of the program, if it has one.
    pub name: Option<String>,
    /// How it runs.
    pub mode: XdpMode,
    /// What keeps it there.
    pub held: Held,
}

/// What keeps an XDP program on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// A `bpf_link` with this number: whoever has it open or pinned.
    Link(u32),
    /// The interface itself: attached by netlink.
    Interface,
    /// The kernel does not tell: listing links takes `CAP_SYS_ADMIN`.
    Unknown,
}

impl Occupant {
    /// What is on the interface; `None` when nothing is, or the kernel does not tell.
    pub async fn find(interface: &str, index: u32) -> Option<Self> {
        let (mode, program) = program_on(index).await?;
        let name = loaded_programs().flatten().find(|p| p.id() == program);
        let name = name.and_then(|p| p.name_as_str().map(str::to_owned)).filter(|n| !n.is_empty());
        Some(Self { interface: interface.to_owned(), program, name, mode, held: holder(program, index) })
    }

    /// Whether it is a natgw's program, of this gateway or another.
    pub(crate) fn is_natgw(&self) -> bool {
        let ours = [program::INSIDE, program::OUTSIDE, program::ONEARM];
        self.name.as_deref().is_some_and(|name| ours.contains(&name))
    }
}

/// Names of the programs on the TCX hooks of an interface that are not natgw's; none where the kernel has no TCX.
pub(crate) fn other_tc_programs(interface: &str) -> Vec<String> {
    let on = |at| SchedClassifier::query_tcx(interface, at).map(|(_, programs)| programs).unwrap_or_default();
    [TcAttachType::Ingress, TcAttachType::Egress]
        .into_iter()
        .flat_map(on)
        .filter_map(|p| p.name_as_str().map(str::to_owned))
        .filter(|name| !program::ALL.contains(&name.as_str()))
        .collect()
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { interface, program, name, mode, held } = self;
        let name = name.as_deref().unwrap_or("without a name");
        write!(f, "another XDP program is attached to {interface} ({name}, id {program}")?;
        match held {
            Held::Link(link) => write!(f, ", by bpf_link {link}); ")?,
            Held::Interface | Held::Unknown => write!(f, "); ")?,
        }
        match (held, mode) {
            _ if self.is_natgw() => {
                write!(f, "it is another natgw's: `natgw detach --state-dir DIR`, DIR being that gateway's")
            }
            (Held::Link(link), _) => {
                write!(
                    f,
                    "stop the program that owns it, or take it off with `bpftool link detach id {link}`"
                )
            }
            (Held::Interface, XdpMode::Native) => {
                write!(f, "take it off with `ip link set dev {interface} xdpdrv off`")
            }
            (Held::Interface, XdpMode::Generic | XdpMode::Tc) => {
                write!(f, "take it off with `ip link set dev {interface} xdpgeneric off`")
            }
            (Held::Unknown, _) => write!(f, "find its owner with `bpftool net` and `bpftool link`, as root"),
        }
    }
}

/// Mode and number of the XDP program on an interface.
pub(super) async fn program_on(index: u32) -> Option<(XdpMode, u32)> {
    let (connection, handle, _) = rtnetlink::new_connection().ok()?;
    let connection = tokio::spawn(connection);
    let link = handle.link().get().match_index(index).execute().try_next().await;
    connection.abort();
    let attributes = link.ok()??.attributes;
    let xdp =
        attributes.iter().filter_map(|a| if let LinkAttribute::Xdp(xdp) = a { Some(xdp) } else { None });
    let xdp: Vec<&LinkXdp> = xdp.flatten().collect();
    let mode = xdp.iter().find_map(|x| match x {
        LinkXdp::Attached(XdpAttached::Driver | XdpAttached::Hardware) => Some(XdpMode::Native),
        LinkXdp::Attached(XdpAttached::SocketBuffer) => Some(XdpMode::Generic),
        _ => None,
    })?;
    let program = xdp.iter().find_map(|x| if let LinkXdp::ProgId(id) = x { Some(*id) } else { None })?;
    Some((mode, program))
}

/// Programs may be on several interfaces, by a link each.
fn holder(program: u32, index: u32) -> Held {
    for info in loaded_links() {
        match info {
            Ok(info) => {
                let is_xdp = matches!(info.link_type(), Ok(LinkType::Xdp));
                let is_here = || sys::link_by_id(info.id()).is_ok_and(|link| link.ifindex == index);
                if is_xdp && info.program_id() == program && is_here() {
                    return Held::Link(info.id());
                }
            }
            Err(LinkError::SyscallError(e)) if e.io_error.kind() == ErrorKind::PermissionDenied => {
                return Held::Unknown;
            }
            // Gone since it was listed.
            Err(_) => {}
        }
    }
    Held::Interface
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_program_has_its_own_way_out() {
        let text = |name: &str, mode, held| {
            let name = (!name.is_empty()).then(|| name.to_owned());
            Occupant { interface: "eth1".to_owned(), program: 12, name, mode, held }.to_string()
        };
        let (native, generic) = (XdpMode::Native, XdpMode::Generic);
        let linked = text("filter", native, Held::Link(7));
        assert!(linked.contains("eth1 (filter, id 12, by bpf_link 7)"), "{linked}");
        assert!(linked.contains("`bpftool link detach id 7`") && !linked.contains("ip link"), "{linked}");
        let ours = text("xdp_inside", native, Held::Link(7));
        assert!(ours.contains("`natgw detach --state-dir") && !ours.contains("bpftool"), "{ours}");
        let plain = text("", native, Held::Interface);
        assert!(plain.contains("(without a name, id 12); ") && plain.contains("xdpdrv off"), "{plain}");
        assert!(text("", generic, Held::Interface).contains("`ip link set dev eth1 xdpgeneric off`"));
        assert!(text("", generic, Held::Unknown).contains("bpftool net"));
    }
}
