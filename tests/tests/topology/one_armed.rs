//! Clients, gateway and router on one segment, the gateway with one interface and nobody's help.

use crate::ground::Ground;
use crate::traffic::works;

/// The gateway's far end is a bridge's port without a program: what XDP sends back there by `XDP_TX` lies in its ring.
#[test]
fn one_armed_on_a_veth_whose_peer_has_no_program() {
    let ground = Ground::new(&["lan", "box"]);
    for (node, device, port) in [("gw", "net0", "gw"), ("net", "eth0", "net"), ("box", "eth0", "box")] {
        ground.veth((node, device), ("lan", port));
    }
    ground.bridge("lan", "br0", &["gw", "net", "box"]);
    ground.run("lan", "ethtool", &["-K", "gw", "gro", "on"]);
    ground.inside_by("net0");
    ground.outside_by("net0", "eth0");
    ground.host_by("box", "eth0", 10);
    let gateway = ground.gateway(&["net0"], &["net0"]);
    works(&ground, &gateway, &["box"]);
}
