//! A container on a veth of its own: routed containers, LXC, network namespaces.

use crate::ground::Ground;
use crate::traffic::works;

pub(crate) fn container() -> Ground {
    let ground = Ground::new(&["box"]);
    ground.veth(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    ground
}

#[test]
fn a_container_on_a_veth_with_default_offloads() {
    let ground = container();
    ground.outside_wire();
    let gateway = ground.gateway(&["in0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}

/// Checksums are whole, but the container's end has no NAPI: nothing can be redirected to it by XDP.
#[test]
fn a_container_that_switched_its_offloads_off() {
    let ground = container();
    ground.run("box", "ethtool", &["-K", "eth0", "tx", "off"]);
    ground.outside_wire();
    let gateway = ground.gateway(&["in0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}

/// The outside, too, is a veth of somebody else's host.
#[test]
fn veths_with_default_offloads_on_both_sides() {
    let ground = container();
    ground.veth(("gw", "out0"), ("net", "eth0"));
    ground.outside_by("out0", "eth0");
    let gateway = ground.gateway(&["in0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}
