//! The lab: clients, a gateway, two internet servers and a stranger, in namespaces on veths.
//!
//! ```text
//!   cli-a 10.0.0.10 --+                               +-- srv-a 198.51.100.10, .11
//!   cli-b 10.0.0.11 --+-- lan ==== gw ==== wan -------+-- srv-b 203.0.113.10
//!   cli-c 10.0.0.12 --+      in0    out0              +-- evil  203.0.113.66
//! ```
//!
//! With `unmanaged`, the gateway also has `dmz0` 172.30.0.1, which natgw does not manage, with host `dmz` behind it.
//!
//! `lan` is a bridge, `wan` a router, each in a namespace of its own; `gw` is where natgw runs.

pub mod addr;
pub mod clients;
pub mod gateway;
pub mod netns;
pub mod raw;
pub mod servers;
pub mod session;
mod signals;
pub mod tap;
pub mod topology;
pub mod xdp_pass;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

pub use addr::*;
pub use gateway::{Gateway, Options};
pub use netns::Netns;
pub use tap::{Frame, Tap, mac_text};
pub use topology::{Arms, Topology};

use session::Session;
use tap::LeakTap;

/// A running lab. Dropping it removes everything, and fails a test during which an inside source was
/// seen on the outside wire.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    nodes: BTreeMap<String, Netns>,
    leaks: Vec<LeakTap>,
    /// Links that live as long as the lab, see [`xdp_pass`].
    _pass: Vec<std::os::fd::OwnedFd>,
    session: Session,
}

impl Lab {
    /// Builds the topology and starts watching the outside wires for leaks.
    pub fn start(topology: Topology) -> Result<Self> {
        let session = Session::open()?;
        let nodes = topology::build(&session, &topology).context("build the lab")?;
        let pass = match topology.arms {
            Arms::Two => Vec::new(),
            Arms::One => vec![xdp_pass::attach(&nodes["lan"], "gw")?],
        };
        let mut lab = Self { topology, nodes, leaks: Vec::new(), _pass: pass, session };
        for port in lab.topology.outside_taps() {
            lab.leaks.push(LeakTap::start(lab.node("wan"), port, lab.topology.arms)?);
        }
        Ok(lab)
    }

    /// The default two-armed lab with this many clients.
    pub fn two_armed(clients: usize) -> Result<Self> {
        Self::start(Topology { clients, ..Topology::default() })
    }

    /// What was built.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Prefix of the namespaces' names.
    pub fn id(&self) -> &str {
        self.session.id()
    }

    /// A directory that is gone with the lab.
    pub fn dir(&self) -> &Path {
        self.session.dir()
    }

    /// The lab's own BPF file system.
    pub fn bpffs(&self) -> Result<std::path::PathBuf> {
        self.session.bpffs()
    }

    /// A namespace by its name in the picture, e.g. `cli-a`.
    pub fn node(&self, name: &str) -> &Netns {
        self.nodes.get(name).unwrap_or_else(|| panic!("this lab has no node `{name}`"))
    }

    /// Client number `n`, from 0.
    pub fn client(&self, n: usize) -> &Netns {
        self.node(&topology::client_name(n))
    }

    /// Where natgw runs.
    pub fn gw(&self) -> &Netns {
        self.node("gw")
    }

    /// Every node with its namespace.
    pub fn nodes(&self) -> impl Iterator<Item = (&str, &Netns)> {
        self.nodes.iter().map(|(name, ns)| (name.as_str(), ns))
    }

    /// Sees what passes between the gateway and the clients.
    pub fn inside_tap(&self) -> Result<Tap> {
        Tap::start(self.node("lan"), "gw")
    }

    /// Sees what passes between the gateway and the internet.
    pub fn outside_tap(&self) -> Result<Tap> {
        Tap::start(self.node("wan"), self.topology.outside_taps()[0])
    }

    /// Frames with an inside source seen on an outside wire so far.
    pub fn leaks(&self) -> Vec<String> {
        self.leaks.iter().flat_map(LeakTap::leaked).collect()
    }

    /// Fails if a frame with an inside source has been seen on an outside wire.
    pub fn assert_no_leak(&self) {
        let leaks = self.leaks();
        let first = leaks.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
        assert!(leaks.is_empty(), "{} frames with an inside source outside, e.g.\n{first}", leaks.len());
    }

    /// For a test that provokes a leak: stops watching, then takes the lab down.
    pub fn expect_leak(mut self) {
        self.leaks.clear();
    }

    /// Sum of the checksum errors that the receiving kernels of all hosts have counted.
    pub fn checksum_errors(&self) -> Result<u64> {
        let mut sum = 0;
        for (_, ns) in self.nodes() {
            for (group, name) in [
                ("Ip", "InHdrErrors"),
                ("Tcp", "InCsumErrors"),
                ("Udp", "InCsumErrors"),
                ("Icmp", "InCsumErrors"),
            ] {
                sum += ns.counter(group, name)?;
            }
        }
        Ok(sum)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.assert_no_leak();
        }
    }
}

/// Polls until `ready` says so; `what` names it in the panic after `timeout`.
pub fn wait_until(what: &str, timeout: Duration, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !ready() {
        assert!(Instant::now() < deadline, "waited {timeout:?} in vain for: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
