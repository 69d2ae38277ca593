//! Builds the namespaces, bridges, veths, addresses and routes of a lab.

use std::collections::BTreeMap;
use std::thread;

use anyhow::Result;

use super::addr::{DMZ, GW_DMZ};
use super::netns::{Netns, check};
use super::session::Session;

/// How the gateway is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arms {
    /// Inside on `in0`, outside on `out0`.
    Two,
    /// Both on `net0`: clients, gateway and router share one segment.
    One,
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Topology {
    /// How the gateway is connected.
    pub arms: Arms,
    /// Clients on the first inside network, 1 to 26.
    pub clients: usize,
    /// A second inside network 10.1.0.0/24 on `in1` with client `cli-z`.
    pub second_inside: bool,
    /// A second outside link on `out1`, which the route to `srv-b` takes.
    pub second_outside: bool,
    /// A host `dmz` behind an interface `dmz0` of the gateway that natgw does not manage.
    pub unmanaged: bool,
    /// MTU of the outside link, both ends.
    pub outside_mtu: u16,
    /// MTU of the inside links.
    pub inside_mtu: u16,
}

impl Default for Topology {
    fn default() -> Self {
        Self {
            arms: Arms::Two,
            clients: 1,
            second_inside: false,
            second_outside: false,
            unmanaged: false,
            outside_mtu: 1500,
            inside_mtu: 1500,
        }
    }
}

impl Topology {
    /// One-armed, otherwise the default.
    pub fn one_armed(clients: usize) -> Self {
        Self { arms: Arms::One, clients, ..Self::default() }
    }

    /// `--inside` interfaces of the gateway.
    pub fn inside(&self) -> Vec<&'static str> {
        match self.arms {
            Arms::One => vec!["net0"],
            Arms::Two if self.second_inside => vec!["in0", "in1"],
            Arms::Two => vec!["in0"],
        }
    }

    /// `--outside` interfaces of the gateway.
    pub fn outside(&self) -> Vec<&'static str> {
        match self.arms {
            Arms::One => vec!["net0"],
            Arms::Two if self.second_outside => vec!["out0", "out1"],
            Arms::Two => vec!["out0"],
        }
    }

    /// Ports of `wan` that face the gateway.
    pub(super) fn outside_taps(&self) -> Vec<&'static str> {
        if self.second_outside { vec!["gw0", "gw1"] } else { vec!["gw0"] }
    }
}

/// `cli-a`, `cli-b`, …
pub(super) fn client_name(n: usize) -> String {
    format!("cli-{}", char::from(b'a' + u8::try_from(n).unwrap_or(0) % 26))
}

/// Creates every namespace and wires them up.
pub(super) fn build(session: &Session, t: &Topology) -> Result<BTreeMap<String, Netns>> {
    let mut nodes = BTreeMap::new();
    let mut names: Vec<String> = ["gw", "lan", "wan", "srv-a", "srv-b", "evil"].map(str::to_owned).to_vec();
    names.extend((0..t.clients).map(client_name));
    if t.second_inside {
        names.extend(["lan2", "cli-z"].map(str::to_owned));
    }
    if t.unmanaged {
        names.push("dmz".to_owned());
    }
    for name in names {
        let ns = session.namespace(&name)?;
        nodes.insert(name, ns);
    }
    let plan = Plan { nodes: &nodes };
    plan.lan("lan", t, (0..t.clients).map(|n| (client_name(n), format!("10.0.0.{}", 10 + n))))?;
    match t.arms {
        Arms::Two => {
            plan.veth(("gw", "in0"), ("lan", "gw"), t.inside_mtu)?;
            plan.veth(("gw", "out0"), ("wan", "gw0"), t.outside_mtu)?;
            plan.ip("gw", "addr add 10.0.0.1/24 dev in0\naddr add 192.0.2.100/24 dev out0")?;
        }
        Arms::One => {
            plan.veth(("gw", "net0"), ("lan", "gw"), t.inside_mtu)?;
            plan.veth(("wan", "gw0"), ("lan", "wan"), t.outside_mtu)?;
            plan.ip("lan", "link set wan master br0")?;
            plan.ip("gw", "addr add 10.0.0.1/24 dev net0\naddr add 192.0.2.100/24 dev net0")?;
        }
    }
    plan.ip("lan", "link set gw master br0")?;
    plan.ip("gw", "route add default via 192.0.2.254")?;
    plan.internet()?;
    if t.second_inside {
        plan.lan("lan2", t, [("cli-z".to_owned(), "10.1.0.10".to_owned())])?;
        plan.veth(("gw", "in1"), ("lan2", "gw"), t.inside_mtu)?;
        plan.ip("lan2", "link set gw master br0")?;
        plan.ip("gw", "addr add 10.1.0.1/24 dev in1")?;
    }
    if t.second_outside {
        plan.veth(("gw", "out1"), ("wan", "gw1"), t.outside_mtu)?;
        plan.ip("wan", "addr add 192.0.3.254/24 dev gw1")?;
        plan.ip("gw", "addr add 192.0.3.100/24 dev out1\nroute add 203.0.113.0/24 via 192.0.3.254")?;
    }
    if t.unmanaged {
        plan.veth(("gw", "dmz0"), ("dmz", "eth0"), 1500)?;
        plan.ip("gw", &format!("addr add {GW_DMZ}/24 dev dmz0"))?;
        plan.ip("dmz", &format!("addr add {DMZ}/24 dev eth0\nroute add default via {GW_DMZ}"))?;
    }
    plan.offloads()?;
    Ok(nodes)
}

struct Plan<'a> {
    nodes: &'a BTreeMap<String, Netns>,
}

impl Plan<'_> {
    fn ip(&self, node: &str, script: &str) -> Result<()> {
        self.nodes[node].ip(script)
    }

    /// A veth from interface `a.1` of node `a.0` to `b.1` of `b.0`, both up.
    fn veth(&self, a: (&str, &str), b: (&str, &str), mtu: u16) -> Result<()> {
        let peer = self.nodes[b.0].name();
        self.ip(
            a.0,
            &format!("link add {} mtu {mtu} type veth peer name {} mtu {mtu} netns {peer}", a.1, b.1),
        )?;
        self.ip(a.0, &format!("link set {} up", a.1))?;
        self.ip(b.0, &format!("link set {} up", b.1))
    }

    /// A bridge in `lan`, and clients on it whose default gateway is `.1` of their network.
    fn lan(
        &self,
        lan: &str,
        t: &Topology,
        clients: impl IntoIterator<Item = (String, String)>,
    ) -> Result<()> {
        self.ip(
            lan,
            "link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0\nlink set br0 up",
        )?;
        for (client, address) in clients {
            self.veth((&client, "eth0"), (lan, &client), t.inside_mtu)?;
            self.ip(lan, &format!("link set {client} master br0"))?;
            let gateway = address.rsplit_once('.').map_or("", |(net, _)| net);
            self.ip(&client, &format!("addr add {address}/24 dev eth0\nroute add default via {gateway}.1"))?;
        }
        Ok(())
    }

    /// The router and the hosts behind it.
    fn internet(&self) -> Result<()> {
        self.ip("wan", "addr add 192.0.2.254/24 dev gw0")?;
        self.nodes["wan"].sysctl("net.ipv4.ip_forward", "1")?;
        for (host, router, addresses) in [
            ("srv-a", "198.51.100.1/24", &["198.51.100.10/24", "198.51.100.11/24"][..]),
            ("srv-b", "203.0.113.1/26", &["203.0.113.10/26"]),
            ("evil", "203.0.113.65/26", &["203.0.113.66/26"]),
        ] {
            self.veth((host, "eth0"), ("wan", host), 1500)?;
            self.ip("wan", &format!("addr add {router} dev {host}"))?;
            for address in addresses {
                self.ip(host, &format!("addr add {address} dev eth0"))?;
            }
            let (via, _) = router.split_once('/').unwrap_or((router, ""));
            self.ip(host, &format!("route add default via {via}"))?;
        }
        Ok(())
    }

    /// Two traps of veth: a checksum left to the "hardware" never gets computed on the way through XDP, and
    /// a redirect into a veth is lost unless its peer has NAPI, which GRO switches on.
    fn offloads(&self) -> Result<()> {
        thread::scope(|s| {
            let jobs: Vec<_> = self.nodes.iter().map(|(node, ns)| s.spawn(move || tune(node, ns))).collect();
            jobs.into_iter().try_for_each(|j| j.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
        })
    }
}

/// Sets the offloads of every veth of a node.
pub fn tune(node: &str, ns: &Netns) -> Result<()> {
    let devices = ns.output("ip", &["-o", "link", "show", "type", "veth"])?;
    for line in devices.lines() {
        let Some(device) = line.split([' ', '@']).nth(1) else { continue };
        // Ports that face the gateway; elsewhere GRO would only merge what a tap wants to see apart.
        let faces_gateway = device.starts_with("gw") || device == "wan" || (node == "gw");
        let gro = if faces_gateway { "on" } else { "off" };
        check("ethtool", ns.command("ethtool").args(["-K", device, "tx", "off", "gro", gro]))?;
    }
    Ok(())
}
