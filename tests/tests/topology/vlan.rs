//! VLANs: tagged inside, tagged outside, both on one cable, two tags.

use crate::ground::Ground;
use crate::traffic::works;

/// `parent.id` in `node`, up.
pub(crate) fn vlan(ground: &Ground, node: &str, parent: &str, id: u16) -> String {
    let name = format!("{parent}.{id}");
    ground.ip(node, &format!("link add link {parent} name {name} type vlan id {id}\nlink set {name} up"));
    name
}

#[test]
#[ignore = "vm: 8021q"]
fn vm_vlan_inside() {
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "eth1"), ("box", "eth0"));
    let inside = vlan(&ground, "gw", "eth1", 10);
    ground.inside_by(&inside);
    ground.host_by("box", &vlan(&ground, "box", "eth0", 10), 10);
    ground.outside_wire();
    let gateway = ground.gateway(&[&inside], &["out0"]);
    works(&ground, &gateway, &["box"]);
}

#[test]
#[ignore = "vm: 8021q"]
fn vm_vlan_outside() {
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    ground.wire(("gw", "eth2"), ("net", "eth0"));
    let outside = vlan(&ground, "gw", "eth2", 20);
    ground.outside_by(&outside, &vlan(&ground, "net", "eth0", 20));
    let gateway = ground.gateway(&["in0"], &[&outside]);
    works(&ground, &gateway, &["box"]);
}

/// One cable to a switch carries both.
#[test]
#[ignore = "vm: 8021q"]
fn vm_router_on_a_stick() {
    let ground = Ground::new(&["lan", "box"]);
    ground.wire(("gw", "eth1"), ("lan", "trunk"));
    ground.wire(("lan", "box"), ("box", "eth0"));
    ground.wire(("lan", "net"), ("net", "eth0"));
    ground.bridge("lan", "br10", &[&vlan(&ground, "lan", "trunk", 10), "box"]);
    ground.bridge("lan", "br20", &[&vlan(&ground, "lan", "trunk", 20), "net"]);
    let (inside, outside) = (vlan(&ground, "gw", "eth1", 10), vlan(&ground, "gw", "eth1", 20));
    ground.inside_by(&inside);
    ground.outside_by(&outside, "eth0");
    ground.host_by("box", "eth0", 10);
    let gateway = ground.gateway(&[&inside], &[&outside]);
    works(&ground, &gateway, &["box"]);
}

/// A customer's VLAN within a provider's.
#[test]
#[ignore = "vm: 8021q"]
fn vm_two_tags_inside() {
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "eth1"), ("box", "eth0"));
    let inner = |node, parent: &str| {
        let outer = "svc";
        ground.ip(
            node,
            &format!(
                "link add link {parent} name {outer} type vlan protocol 802.1ad id 100\nlink set {outer} up"
            ),
        );
        vlan(&ground, node, outer, 10)
    };
    let (inside, host) = (inner("gw", "eth1"), inner("box", "eth0"));
    ground.inside_by(&inside);
    ground.host_by("box", &host, 10);
    ground.outside_wire();
    let gateway = ground.gateway(&[&inside], &["out0"]);
    works(&ground, &gateway, &["box"]);
}
