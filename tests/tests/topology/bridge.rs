//! Containers and machines on a bridge: Docker, LXD, libvirt, Proxmox.

use nat_tests::lab::clients;
use nat_tests::lab::relay::{Kind, Relay};

use crate::ground::Ground;
use crate::traffic::works;

/// Containers `box-a` and `box-b` on `br0` of the gateway.
pub(crate) fn containers() -> Ground {
    let ground = Ground::new(&["box-a", "box-b"]);
    for (n, name) in [(10, "box-a"), (11, "box-b")] {
        ground.veth(("gw", name), (name, "eth0"));
        ground.host_by(name, "eth0", n);
    }
    ground.bridge("gw", "br0", &["box-a", "box-b"]);
    ground.inside_by("br0");
    ground
}

#[test]
fn containers_on_a_bridge_and_a_wire() {
    let ground = containers();
    ground.outside_wire();
    let gateway = ground.gateway(&["br0"], &["out0"]);
    works(&ground, &gateway, &["box-a", "box-b"]);
}

#[test]
fn containers_on_a_bridge_with_default_offloads_all_around() {
    let ground = containers();
    ground.veth(("gw", "out0"), ("net", "eth0"));
    ground.outside_by("out0", "eth0");
    let gateway = ground.gateway(&["br0"], &["out0"]);
    works(&ground, &gateway, &["box-a", "box-b"]);
}

/// What the ports of a bridge say to each other is none of natgw's business.
#[test]
fn containers_reach_each_other_and_natgw_does_not_see_it() {
    let ground = containers();
    ground.outside_wire();
    let gateway = ground.gateway(&["br0"], &["out0"]);
    assert_eq!(clients::ping(ground.node("box-a"), [10, 0, 0, 11].into(), 3, &[]).unwrap(), 3);
    let _server =
        nat_tests::lab::servers::Server::bulk(ground.node("box-b"), crate::at([0, 0, 0, 0].into(), 80));
    nat_tests::lab::bulk::download(ground.node("box-a"), crate::at([10, 0, 0, 11].into(), 80), 4 << 20)
        .unwrap();
    assert!(gateway.flows(&[]).unwrap().is_empty());
    assert_eq!(gateway.stats().unwrap()["packets"]["source_in"], 0);
}

/// Proxmox VE as it installs itself: the host's card is a port of `vmbr0`, which has the host's address; guests are on `vmbr1`,
/// one a container, one a virtual machine.
#[test]
fn a_bridge_over_the_card_outside_and_guests_on_another_inside() {
    let ground = Ground::new(&["box", "vm"]);
    ground.wire(("gw", "eno1"), ("net", "eth0"));
    ground.bridge("gw", "vmbr0", &["eno1"]);
    ground.outside_by("vmbr0", "eth0");
    ground.veth(("gw", "veth100i0"), ("box", "eth0"));
    let _machine =
        Relay::start(Kind::Machine, (ground.node("gw"), "tap101i0"), (ground.node("vm"), "eth0")).unwrap();
    ground.ip("gw", "link set tap101i0 up");
    ground.ip("vm", "link set eth0 up");
    ground.bridge("gw", "vmbr1", &["veth100i0", "tap101i0"]);
    ground.inside_by("vmbr1");
    ground.host_by("box", "eth0", 10);
    ground.host_by("vm", "eth0", 11);
    let gateway = ground.gateway(&["vmbr1"], &["vmbr0"]);
    works(&ground, &gateway, &["box", "vm"]);
}
