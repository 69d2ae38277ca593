//! Bonds: two cables that look like one.

use std::time::Duration;

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{SRV_A, bulk, wait_until};

use crate::at;
use crate::ground::{Ground, paths};
use crate::traffic::{TRANSFER, works};
use crate::vlan::vlan;

/// Makes `bond0` of these ports, which may not be up before.
fn bond(ground: &Ground, node: &str, mode: &str, ports: [&str; 2]) {
    ground.ip(node, &format!("link add bond0 type bond mode {mode} miimon 50"));
    for port in ports {
        ground.ip(node, &format!("link set {port} down\nlink set {port} master bond0"));
    }
    ground.ip(node, "link set bond0 up");
}

/// `bond0` of the gateway on two ports of the switch `lan`, `p0` and `p1`, which `box` is at, too.
fn two_cables_to_a_switch() -> Ground {
    let ground = Ground::new(&["lan", "box"]);
    ground.wire(("gw", "eth1"), ("lan", "p0"));
    ground.wire(("gw", "eth2"), ("lan", "p1"));
    ground.wire(("box", "eth0"), ("lan", "box"));
    ground.bridge("lan", "br0", &["p0", "p1", "box"]);
    bond(&ground, "gw", "active-backup", ["eth1", "eth2"]);
    ground
}

/// The cable that is in use is pulled while a download runs.
#[test]
#[ignore = "vm: bonding"]
fn vm_a_bond_inside_fails_over_within_a_transfer() {
    let ground = two_cables_to_a_switch();
    ground.inside_by("bond0");
    ground.host_by("box", "eth0", 10);
    ground.outside_wire();
    let gateway = ground.gateway(&["bond0"], &["out0"]);
    assert_eq!(paths(&gateway), ["bond0: tc", "out0: tc"]);
    works(&ground, &gateway, &["box"]);
    let _server = Server::bulk(ground.node("net"), any(TRANSFER)).unwrap();
    std::thread::scope(|scope| {
        let received = || gateway.stats().unwrap()["bytes"]["source_out"].as_u64().unwrap();
        let before = received();
        let transfer = scope.spawn(|| bulk::download(ground.node("box"), at(SRV_A, TRANSFER), 64 << 20));
        wait_until("the download to run", Duration::from_secs(10), || received() > before + (4 << 20));
        ground.ip("lan", "link set p0 down");
        transfer.join().unwrap().unwrap();
    });
    let bond = ground.run("gw", "ip", &["-d", "link", "show", "bond0"]);
    assert!(bond.contains("active_slave eth2"), "{bond}");
}

/// Both ends aggregate: LACP runs over the same cables.
#[test]
#[ignore = "vm: bonding"]
fn vm_a_bond_by_lacp_outside() {
    let ground = Ground::new(&["box"]);
    ground.wire(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    ground.wire(("gw", "eth1"), ("net", "eth1"));
    ground.wire(("gw", "eth2"), ("net", "eth2"));
    for node in ["gw", "net"] {
        bond(&ground, node, "802.3ad lacp_rate fast", ["eth1", "eth2"]);
    }
    ground.outside_by("bond0", "bond0");
    let up = || ground.run("gw", "ip", &["link", "show", "bond0"]).contains("LOWER_UP");
    wait_until("LACP to agree", Duration::from_secs(10), up);
    let gateway = ground.gateway(&["in0"], &["bond0"]);
    works(&ground, &gateway, &["box"]);
}

#[test]
#[ignore = "vm: bonding, 8021q"]
fn vm_a_vlan_on_a_bond_inside() {
    let ground = two_cables_to_a_switch();
    let inside = vlan(&ground, "gw", "bond0", 10);
    ground.inside_by(&inside);
    ground.host_by("box", &vlan(&ground, "box", "eth0", 10), 10);
    ground.outside_wire();
    let gateway = ground.gateway(&[&inside], &["out0"]);
    works(&ground, &gateway, &["box"]);
}
