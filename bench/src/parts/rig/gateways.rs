//! The gateways, each in a namespace of its own between the generator's end and the far end:
//!
//! ```text
//!   generator  g3 ---- i3  gateway  o3 ---- s3  far end
//! ```
//!
//! All are set up once and stay; only one at a time gets packets.

use std::os::fd::OwnedFd;

use anyhow::{Context as _, Result};
use nat_tests::lab::netns::check;
use nat_tests::lab::session::Session;
use nat_tests::lab::{self, Netns};

use super::addresses::{CLIENT, CLIENT_MAC, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, ROUTER, ROUTER_MAC};
use super::natgw;
use super::objects::{Objects, Port, Program};
use crate::nft::Ruleset;

/// What stands between the two ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts and drops at the gateway's input: what the generator can deliver at most.
    Ceiling,
    /// Redirects every frame, unread.
    Redirect,
    /// Routes in XDP, a FIB lookup per packet.
    Fib,
    /// Looks every packet up in the kernel's hash, and redirects it.
    Lookup,
    /// natgw.
    Natgw,
    /// Routes in the kernel.
    Kernel,
    /// nftables masquerade and a filter on conntrack's state.
    Nft,
}

impl Kind {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 7] =
        [Self::Ceiling, Self::Redirect, Self::Fib, Self::Lookup, Self::Kernel, Self::Nft, Self::Natgw];

    /// Short name, for options and findings.
    pub const fn id(self) -> &'static str {
        match self {
            Self::Ceiling => "ceiling",
            Self::Redirect => "redirect",
            Self::Fib => "fib",
            Self::Lookup => "lookup",
            Self::Kernel => "kernel",
            Self::Nft => "nft",
            Self::Natgw => "natgw",
        }
    }

    /// What tables call it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Ceiling => "generator ceiling (XDP_DROP)",
            Self::Redirect => "XDP redirect, no lookup",
            Self::Fib => "XDP forwarding, FIB lookup",
            Self::Lookup => "XDP hash lookup only",
            Self::Kernel => "kernel forwarding",
            Self::Nft => "nftables masquerade",
            Self::Natgw => "natgw",
        }
    }

    /// Whether it keeps flows, and translates.
    pub const fn is_nat(self) -> bool {
        matches!(self, Self::Nft | Self::Natgw)
    }

    /// Whether it routes: decrements the TTL and addresses the frame to the next hop.
    pub const fn is_router(self) -> bool {
        matches!(self, Self::Fib | Self::Kernel) || self.is_nat()
    }

    const fn number(self) -> u32 {
        self as u32
    }
}

/// A gateway that is set up.
pub struct Gateway<'ns> {
    /// Which.
    pub kind: Kind,
    /// Its namespace.
    pub ns: &'ns Netns,
    /// natgw, where it is that.
    pub natgw: Option<lab::Gateway<'ns>>,
    /// The far end's program.
    pub far: Port,
    /// The generator's end's program.
    pub near: Port,
    _inside: Option<Port>,
    _passing: Option<OwnedFd>,
}

/// The two ends, shared by all gateways.
pub struct Ends {
    /// Holds the generator's interfaces.
    pub near: Netns,
    /// Holds the far ends.
    pub far: Netns,
    _dispatched: Vec<Port>,
}

impl Ends {
    /// Creates the namespaces.
    ///
    /// The generators are attached to a device that carries nothing. A test run puts its program into the kernel's
    /// XDP dispatcher and takes it out again, which patches code and waits for every CPU, about 15 ms per call; for
    /// a program that is attached somewhere, both do nothing (kernel/bpf/dispatcher.c).
    pub fn create(session: &Session, objects: &mut Objects) -> Result<Self> {
        let (near, far) = (session.namespace("near")?, session.namespace("far")?);
        near.ip("link add idle0 type veth peer name idle1")?;
        let dispatched = vec![
            objects.attach(Program::Generate, &near, "idle0")?,
            objects.attach(Program::GenerateMix, &near, "idle1")?,
        ];
        Ok(Self { near, far, _dispatched: dispatched })
    }
}

impl<'ns> Gateway<'ns> {
    /// Sets a gateway up in `ns`.
    pub fn create(
        kind: Kind,
        ns: &'ns Netns,
        session: &Session,
        ends: &Ends,
        objects: &mut Objects,
    ) -> Result<Self> {
        let gateway = Self::build(kind, ns, session, ends, objects);
        gateway.with_context(|| format!("set up the gateway `{}`", kind.id()))
    }

    /// Index of its generator's interface in the generator's devmap.
    pub fn target(&self) -> u32 {
        self.kind.number()
    }

    /// Name of its inside interface.
    pub fn inside(&self) -> String {
        format!("i{}", self.kind.number())
    }

    /// Name of the far end's interface.
    pub fn far_device(&self) -> String {
        format!("s{}", self.kind.number())
    }

    /// Name of the generator's interface.
    pub fn near_device(&self) -> String {
        format!("g{}", self.kind.number())
    }

    fn build(
        kind: Kind,
        ns: &'ns Netns,
        session: &Session,
        ends: &Ends,
        objects: &mut Objects,
    ) -> Result<Self> {
        let n = kind.number();
        let [near, inside, outside, far] = ["g", "i", "o", "s"].map(|end| format!("{end}{n}"));
        wire(ns, ends, n)?;
        for (ns, device) in [(&ends.near, &near), (ns, &inside), (ns, &outside), (&ends.far, &far)] {
            // A checksum left to the hardware is never computed on the way through XDP; GRO gives a veth without an
            // XDP program the receive processing that a redirect into it needs.
            check("ethtool", ns.command("ethtool").args(["-K", device, "tx", "off", "gro", "on"]))?;
        }
        let mut attached = None;
        let mut passing = None;
        let mut started = None;
        match kind {
            Kind::Ceiling => attached = Some(objects.attach(Program::Receive, ns, &inside)?),
            Kind::Redirect => {
                objects.set_device("RIG_OUT", Some(0), ns, &outside)?;
                attached = Some(objects.attach(Program::Redirect, ns, &inside)?);
            }
            Kind::Lookup => {
                objects.set_device("RIG_OUT", Some(1), ns, &outside)?;
                attached = Some(objects.attach(Program::Lookup, ns, &inside)?);
            }
            Kind::Fib => {
                objects.set_device("RIG_FIB_OUT", None, ns, &outside)?;
                attached = Some(objects.attach(Program::Fib, ns, &inside)?);
            }
            Kind::Kernel => passing = Some(fast_kernel_input(ns, &inside)?),
            Kind::Nft => {
                Ruleset { inside: &inside, outside: &outside }.apply(ns)?;
                passing = Some(fast_kernel_input(ns, &inside)?);
            }
            Kind::Natgw => started = Some(natgw::start(ns, session, &inside, &outside)?),
        }
        let far_port = objects.attach(Program::Receive, &ends.far, &far)?;
        let near_port = objects.attach(Program::ReceiveAnswer, &ends.near, &near)?;
        objects.set_device("RIG_TARGETS", Some(n), &ends.near, &near)?;
        Ok(Self {
            kind,
            ns,
            natgw: started,
            far: far_port,
            near: near_port,
            _inside: attached,
            _passing: passing,
        })
    }
}

/// The fastest way into the kernel's stack that was found for frames that come from XDP: a program that passes
/// everything, for the sake of the receive processing that a veth has only with one, and no GRO, which has nothing to
/// merge here and costs 3 to 8 %.
fn fast_kernel_input(ns: &Netns, device: &str) -> Result<OwnedFd> {
    let link = lab::xdp_pass::attach(ns, device)?;
    check("ethtool", ns.command("ethtool").args(["-K", device, "gro", "off"]))?;
    Ok(link)
}

/// The two veths of a gateway, its addresses, routes, and neighbours that never need to be asked for.
fn wire(ns: &Netns, ends: &Ends, n: u32) -> Result<()> {
    let mac = |m: [u8; 6]| m.map(|b| format!("{b:02x}")).join(":");
    let (near, far) = (ends.near.name(), ends.far.name());
    ns.ip(&format!(
        "link add i{n} address {} type veth peer name g{n} address {} netns {near}
link add o{n} address {} type veth peer name s{n} address {} netns {far}
link set i{n} up\nlink set o{n} up",
        mac(INSIDE_MAC),
        mac(CLIENT_MAC),
        mac(OUTSIDE_MAC),
        mac(ROUTER_MAC)
    ))?;
    ends.near.ip(&format!("link set g{n} up"))?;
    ends.far.ip(&format!("link set s{n} up"))?;
    for key in ["all", "default", &format!("i{n}"), &format!("o{n}")] {
        ns.sysctl(&format!("net.ipv4.conf.{key}.rp_filter"), "0")?;
    }
    ns.sysctl("net.ipv4.ip_forward", "1")?;
    // A router has no sockets to find early.
    ns.sysctl("net.ipv4.ip_early_demux", "0")?;
    ns.ip(&format!(
        "addr add 10.0.0.1/24 dev i{n}\naddr add {OUTSIDE}/24 dev o{n}\nroute add default via {ROUTER}
neigh add {CLIENT} lladdr {} dev i{n} nud permanent\nneigh add {ROUTER} lladdr {} dev o{n} nud permanent",
        mac(CLIENT_MAC),
        mac(ROUTER_MAC)
    ))
}
