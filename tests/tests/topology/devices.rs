//! Devices on top of others: macvlan, VXLAN.

use crate::ground::Ground;
use crate::traffic::works;

/// A gateway in a container whose interfaces are macvlans of the host's cards.
#[test]
fn macvlans_inside_and_outside() {
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "eth1"), ("box", "eth0"));
    ground.wire(("gw", "eth2"), ("net", "eth0"));
    ground.ip(
        "gw",
        "link add in0 link eth1 type macvlan mode bridge\nlink set in0 up\n\
         link add out0 link eth2 type macvlan mode bridge\nlink set out0 up",
    );
    ground.inside_by("in0");
    ground.outside_by("out0", "eth0");
    ground.host_by("box", "eth0", 10);
    let gateway = ground.gateway(&["in0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}

/// Hosts of an overlay: the frames come in UDP by another interface, which natgw does not manage.
#[test]
fn vxlan_inside() {
    let ground = Ground::new(&["box"]);
    ground.veth(("gw", "under0"), ("box", "under0"));
    for (node, own, other) in [("gw", 1, 2), ("box", 2, 1)] {
        ground.ip(
            node,
            &format!(
                "addr add 172.30.0.{own}/24 dev under0\n\
                 link add vx0 type vxlan id 7 dstport 4789 local 172.30.0.{own} remote 172.30.0.{other} dev under0\n\
                 link set vx0 up"
            ),
        );
    }
    ground.inside_by("vx0");
    ground.host_by("box", "vx0", 10);
    ground.outside_wire();
    let gateway = ground.gateway(&["vx0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}
