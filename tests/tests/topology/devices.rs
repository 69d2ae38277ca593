//! Devices on top of others: macvlan, VXLAN.

use std::net::Ipv4Addr;

use nat_tests::lab::{GW_OUTSIDE, Options, WAN};

use crate::ground::Ground;
use crate::traffic::{Internet, carries, works};

/// A gateway in a container whose interfaces are macvlans of the host's cards.
#[test]
fn macvlans_inside_and_outside() {
    let ground = Ground::new(&["host", "box"]);
    ground.wire(("host", "eth1"), ("box", "eth0"));
    ground.wire(("host", "eth2"), ("net", "eth0"));
    for (card, name) in [("eth1", "in0"), ("eth2", "out0")] {
        let gw = ground.node("gw").name();
        ground.ip("host", &format!("link add {name} link {card} netns {gw} type macvlan mode bridge"));
        ground.ip("gw", &format!("link set {name} up"));
    }
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

/// Both interfaces and the routes between them belong to one VRF.
#[test]
#[ignore = "vm: vrf"]
fn vm_a_vrf_with_both_sides() {
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "in0"), ("box", "eth0"));
    ground.wire(("gw", "out0"), ("net", "eth0"));
    ground.ip(
        "gw",
        &format!(
            "link add blue type vrf table 10\nlink set blue up\nlink set in0 master blue\nlink set out0 master blue\n\
             addr add {GW_OUTSIDE}/24 dev out0\nroute add default via {WAN} table 10"
        ),
    );
    ground.ip("net", &format!("addr add {WAN}/24 dev eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    let gateway = ground.gateway(&["in0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}

/// The EIP is an address of this host on a device that has no wire: the usual place for an address that the provider routes.
#[test]
#[ignore = "vm: dummy"]
fn vm_an_eip_on_a_dummy() {
    let routed = Ipv4Addr::new(203, 0, 113, 77);
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    ground.outside_wire();
    ground.ip("net", &format!("route add {routed}/32 via {GW_OUTSIDE}"));
    ground.ip(
        "gw",
        &format!("link add dummy0 type dummy\nlink set dummy0 up\naddr add {routed}/32 dev dummy0"),
    );
    let options = Options { eips: vec![routed.to_string()], ..Options::default() };
    let _gateway = ground.gateway_with(&["in0"], &["out0"], &options);
    let _internet = Internet::start(&ground);
    carries(ground.node("box"), routed);
}
