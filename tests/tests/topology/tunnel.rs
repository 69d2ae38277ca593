//! Devices without Ethernet header: a VPN daemon's TUN, and `WireGuard`.

use nat_tests::lab::relay::{Kind, Relay};
use nat_tests::lab::{GW_OUTSIDE, WAN};

use crate::ground::Ground;
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
