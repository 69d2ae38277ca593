//! Namespaces, and the devices that a test puts between them.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use nat_tests::lab::netns::check;
use nat_tests::lab::session::Session;
use nat_tests::lab::{GW_OUTSIDE, Gateway, Netns, Options, SRV_A, WAN, eip, wait_until};

/// An end of a veth: node and device.
pub(crate) type End<'a> = (&'a str, &'a str);

/// A gateway `gw`; `net`, the provider's router and all of the internet in one; and the nodes that the test names.
pub(crate) struct Ground {
    nodes: BTreeMap<String, Netns>,
    session: Session,
}

impl Ground {
    pub(crate) fn new(others: &[&str]) -> Self {
        let session = Session::open().unwrap();
        let names = ["gw", "net"].iter().chain(others);
        let nodes: BTreeMap<String, Netns> =
            names.map(|name| ((*name).to_owned(), session.namespace(name).unwrap())).collect();
        let ground = Self { nodes, session };
        ground.ip("net", &format!("addr add {SRV_A}/32 dev lo"));
        ground.watch();
        ground
    }

    pub(crate) fn node(&self, name: &str) -> &Netns {
        &self.nodes[name]
    }

    pub(crate) fn ip(&self, node: &str, script: &str) {
        self.node(node).ip(script).unwrap();
    }

    pub(crate) fn run(&self, node: &str, program: &str, args: &[&str]) -> String {
        self.node(node).output(program, args).unwrap()
    }

    /// Loads a ruleset of nft.
    pub(crate) fn nft(&self, node: &str, rules: &str) {
        check("nft", self.node(node).command("nft").arg(rules)).unwrap();
    }

    /// A veth as the kernel makes it: checksums and segmentation are left to the far end, and nobody has NAPI.
    pub(crate) fn veth(&self, a: End<'_>, b: End<'_>) {
        let peer = self.node(b.0).name();
        self.ip(
            a.0,
            &format!("link add {} type veth peer name {} netns {peer}\nlink set {} up", a.1, b.1, a.1),
        );
        self.ip(b.0, &format!("link set {} up", b.1));
    }

    /// A veth that carries what a cable does: frames with checksums, which GRO merges where they arrive.
    pub(crate) fn wire(&self, a: End<'_>, b: End<'_>) {
        self.veth(a, b);
        for (node, device) in [a, b] {
            self.run(node, "ethtool", &["-K", device, "tx", "off", "gro", "on"]);
        }
    }

    /// Takes a card of the virtual machine from the namespace that this process is in; the kernel gives it back with the node's end.
    pub(crate) fn adopt(&self, node: &str, card: &str) {
        wait_until("the card to be back from the last test", Duration::from_secs(10), || {
            check("ip", Command::new("ip").args(["link", "set", card, "netns", self.node(node).name()]))
                .is_ok()
        });
        self.ip(node, &format!("link set {card} up"));
    }

    /// `device` of `gw` gets the gateway's outside address and leads to `net`, whose end is `far`.
    pub(crate) fn outside_by(&self, device: &str, far: &str) {
        self.ip("gw", &format!("addr add {GW_OUTSIDE}/24 dev {device}\nroute add default via {WAN}"));
        self.ip("net", &format!("addr add {WAN}/24 dev {far}"));
    }

    /// The outside is a cable, `out0` of `gw`.
    pub(crate) fn outside_wire(&self) {
        self.wire(("gw", "out0"), ("net", "eth0"));
        self.outside_by("out0", "eth0");
    }

    /// `device` of `gw` gets the inside address.
    pub(crate) fn inside_by(&self, device: &str) {
        self.ip("gw", &format!("addr add 10.0.0.1/24 dev {device}"));
    }

    /// Host number `n` of the inside network, by its `device`.
    pub(crate) fn host_by(&self, node: &str, device: &str, n: u8) {
        self.ip(node, &format!("addr add 10.0.0.{n}/24 dev {device}\nroute add default via 10.0.0.1"));
    }

    /// A bridge in `node`, up, with these ports.
    pub(crate) fn bridge(&self, node: &str, bridge: &str, ports: &[&str]) {
        self.ip(
            node,
            &format!("link add {bridge} type bridge stp_state 0 forward_delay 0\nlink set {bridge} up"),
        );
        for port in ports {
            self.ip(node, &format!("link set {port} master {bridge}"));
        }
    }

    /// `natgw run` with nothing but interfaces and one EIP.
    pub(crate) fn gateway(&self, inside: &[&str], outside: &[&str]) -> Gateway<'_> {
        self.gateway_with(inside, outside, &Options::one_eip())
    }

    pub(crate) fn gateway_with(&self, inside: &[&str], outside: &[&str], options: &Options) -> Gateway<'_> {
        let owned = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
        let place = nat_tests::lab::gateway::Place {
            ns: self.node("gw"),
            dir: self.session.dir().to_owned(),
            state: self.session.dir().join("state"),
            bpffs: self.session.bpffs().unwrap().join("natgw"),
            inside: owned(inside),
            outside: owned(outside),
        };
        // The default, written out because the lab's own gateways would get another.
        Gateway::start_at(&place, &options.clone().arg("--xdp=auto")).unwrap()
    }

    /// The kernel does what natgw would: for comparison.
    pub(crate) fn masquerade(&self, outside: &str) {
        self.node("gw").sysctl("net.ipv4.ip_forward", "1").unwrap();
        let rule = format!("ip saddr 10.0.0.0/8 oifname {outside} masquerade");
        self.nft(
            "gw",
            &format!("table ip nat {{ chain post {{ type nat hook postrouting priority 100; {rule}; }}; }}"),
        );
    }

    /// `net` counts what must never arrive there: inside sources.
    fn watch(&self) {
        let chain = "chain pre { type filter hook prerouting priority -300; ip saddr 10.0.0.0/8 counter name leaks; }";
        self.nft("net", &format!("table ip watch {{ counter leaks {{ }}; {chain}; }}"));
    }

    /// Packets with an inside source that have arrived outside.
    pub(crate) fn leaks(&self) -> u64 {
        let text = self.run("net", "nft", &["list", "counter", "ip", "watch", "leaks"]);
        let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
        words.nth(1).unwrap().parse().unwrap()
    }

    /// Sum of the checksum errors that the kernels of all nodes have counted.
    pub(crate) fn checksum_errors(&self) -> u64 {
        let of = |ns: &Netns| {
            [("Tcp", "InCsumErrors"), ("Udp", "InCsumErrors"), ("Icmp", "InCsumErrors")]
                .map(|(group, name)| ns.counter(group, name).unwrap())
                .iter()
                .sum::<u64>()
        };
        self.nodes.values().map(of).sum()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.leaks(), 0, "packets with an inside source arrived outside");
        }
    }
}

/// How natgw gets the frames of its interfaces, as `natgw status` tells: "in0: tc".
pub(crate) fn paths(gateway: &Gateway<'_>) -> Vec<String> {
    let status = gateway.verb(&["status", "--json"]).unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let interfaces = status["interfaces"].as_array().unwrap().iter();
    interfaces.map(|i| format!("{}: {}", text(&i["name"]), text(&i["xdp_mode"]))).collect()
}

/// The EIP of [`Ground::gateway`].
pub(crate) const EIP: std::net::Ipv4Addr = eip(0);
