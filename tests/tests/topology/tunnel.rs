//! Devices without Ethernet header: a VPN daemon's TUN, and `WireGuard`.

use nat_tests::lab::relay::{Kind, Relay};
use nat_tests::lab::{GW_OUTSIDE, WAN};

use crate::ground::{Ground, paths};
use crate::traffic::works;

#[test]
fn tun_inside() {
    let ground = Ground::new(&["box"]);
    let _vpn = Relay::start(Kind::Tunnel, (ground.node("gw"), "tun0"), (ground.node("box"), "tun0")).unwrap();
    for node in ["gw", "box"] {
        ground.ip(node, "link set tun0 up");
    }
    ground.inside_by("tun0");
    ground.host_by("box", "tun0", 10);
    ground.outside_wire();
    let gateway = ground.gateway(&["tun0"], &["out0"]);
    works(&ground, &gateway, &["box"]);
}

/// The way out is a VPN; there is no ARP there, so the provider routes the EIP.
#[test]
fn tun_outside() {
    let ground = Ground::new(&["box"]);
    let _vpn = Relay::start(Kind::Tunnel, (ground.node("gw"), "tun0"), (ground.node("net"), "tun0")).unwrap();
    for node in ["gw", "net"] {
        ground.ip(node, "link set tun0 up");
    }
    ground.ip("gw", &format!("addr add {GW_OUTSIDE}/24 dev tun0\nroute add default dev tun0"));
    ground.ip("net", &format!("addr add {WAN}/24 dev tun0"));
    ground.veth(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    let gateway = ground.gateway(&["in0"], &["tun0"]);
    works(&ground, &gateway, &["box"]);
}

/// `wg0` at both nodes, over a veth of 172.30.0.0/24.
fn wireguard(ground: &Ground, a: &str, b: &str) {
    ground.veth((a, "under0"), (b, "under0"));
    let sh = |node: &str, script: &str| ground.run(node, "bash", &["-ec", script]).trim().to_owned();
    let keys = [a, b].map(|node| sh(node, "wg genkey"));
    let public = [0, 1].map(|n: usize| sh(a, &format!("wg pubkey <<< {}", keys[n])));
    for (node, me, other) in [(a, 0, 1), (b, 1, 0)] {
        let (own, far) = (me + 1, other + 1);
        ground.ip(node, &format!("addr add 172.30.0.{own}/24 dev under0\nlink add wg0 type wireguard"));
        let peer = format!("peer {} endpoint 172.30.0.{far}:51820 allowed-ips 0.0.0.0/0", public[other]);
        sh(node, &format!("wg set wg0 listen-port 51820 private-key <(echo {}) {peer}", keys[me]));
        ground.ip(node, "link set wg0 up");
    }
}

#[test]
#[ignore = "vm: wireguard"]
fn vm_wireguard_inside() {
    let ground = Ground::new(&["box"]);
    wireguard(&ground, "gw", "box");
    ground.inside_by("wg0");
    ground.host_by("box", "wg0", 10);
    ground.outside_wire();
    let gateway = ground.gateway(&["wg0"], &["out0"]);
    assert_eq!(paths(&gateway), ["wg0: tc", "out0: tc"]);
    works(&ground, &gateway, &["box"]);
}

#[test]
#[ignore = "vm: wireguard"]
fn vm_wireguard_outside() {
    let ground = Ground::new(&["box"]);
    wireguard(&ground, "gw", "net");
    ground.ip("gw", &format!("addr add {GW_OUTSIDE}/24 dev wg0\nroute add default dev wg0"));
    ground.ip("net", &format!("addr add {WAN}/24 dev wg0"));
    ground.veth(("gw", "in0"), ("box", "eth0"));
    ground.inside_by("in0");
    ground.host_by("box", "eth0", 10);
    let gateway = ground.gateway(&["in0"], &["wg0"]);
    works(&ground, &gateway, &["box"]);
}
