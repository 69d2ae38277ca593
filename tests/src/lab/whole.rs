//! The lab as a whole: its namespaces, who is in them, and the watch for leaks.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::netns::Netns;
use super::session::Session;
use super::tap::{LeakTap, Tap};
use super::topology::{self, Topology};

/// A running lab. Dropping it removes everything, and fails a test during which an inside source was
/// seen on the outside wire.
#[derive(Debug)]
pub struct Lab {
    topology: Topology,
    nodes: BTreeMap<String, Netns>,
    leaks: Vec<LeakTap>,
    session: Session,
}

impl Lab {
    /// Builds the topology and starts watching the outside wires for leaks.
    pub fn start(topology: Topology) -> Result<Self> {
        let session = Session::open()?;
        let nodes = topology::build(&session, &topology).context("build the lab")?;
        let mut lab = Self { topology, nodes, leaks: Vec::new(), session };
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
