//! Cards with drivers of their own. The virtual machine's come in pairs, each pair a cable: card1 and card2, card3 and card4 are
//! virtio; card5 is an Intel e1000e, whose driver does not run XDP, and card6 its far end.

use crate::ground::{Ground, paths};
use crate::traffic::works;
use crate::vlan::vlan;

fn host_by_card(ground: &Ground, inside: &str, far: &str) {
    ground.adopt("gw", inside);
    ground.adopt("box", far);
    ground.inside_by(inside);
    ground.host_by("box", far, 10);
}

fn outside_by_card(ground: &Ground, outside: &str, far: &str) {
    ground.adopt("gw", outside);
    ground.adopt("net", far);
    ground.outside_by(outside, far);
}

#[test]
#[ignore = "vm: its cards"]
fn vm_virtio_on_both_sides() {
    let ground = Ground::new(&["box"]);
    host_by_card(&ground, "card1", "card2");
    outside_by_card(&ground, "card3", "card4");
    let gateway = ground.gateway(&["card1"], &["card3"]);
    assert_eq!(paths(&gateway), ["card1: native", "card3: native"]);
    works(&ground, &gateway, &["box"]);
}

#[test]
#[ignore = "vm: its cards"]
fn vm_virtio_inside_and_e1000e_outside() {
    let ground = Ground::new(&["box"]);
    host_by_card(&ground, "card1", "card2");
    outside_by_card(&ground, "card5", "card6");
    let gateway = ground.gateway(&["card1"], &["card5"]);
    assert_eq!(paths(&gateway), ["card1: native", "card5: tc"]);
    works(&ground, &gateway, &["box"]);
}

#[test]
#[ignore = "vm: its cards"]
fn vm_e1000e_inside_and_virtio_outside() {
    let ground = Ground::new(&["box"]);
    host_by_card(&ground, "card5", "card6");
    outside_by_card(&ground, "card1", "card2");
    let gateway = ground.gateway(&["card5"], &["card1"]);
    assert_eq!(paths(&gateway), ["card5: tc", "card1: native"]);
    works(&ground, &gateway, &["box"]);
}

#[test]
#[ignore = "vm: its cards, 8021q"]
fn vm_a_vlan_of_a_virtio_card_inside_and_virtio_outside() {
    let ground = Ground::new(&["box"]);
    ground.adopt("gw", "card1");
    ground.adopt("box", "card2");
    let inside = vlan(&ground, "gw", "card1", 10);
    ground.inside_by(&inside);
    ground.host_by("box", &vlan(&ground, "box", "card2", 10), 10);
    outside_by_card(&ground, "card3", "card4");
    let gateway = ground.gateway(&[&inside], &["card3"]);
    assert_eq!(paths(&gateway), ["card1.10: tc", "card3: native"]);
    works(&ground, &gateway, &["box"]);
}

/// The usual container host: a card outside, a bridge inside.
#[test]
#[ignore = "vm: its cards"]
fn vm_containers_on_a_bridge_and_virtio_outside() {
    let ground = crate::bridge::containers();
    outside_by_card(&ground, "card3", "card4");
    let gateway = ground.gateway(&["br0"], &["card3"]);
    assert_eq!(paths(&gateway), ["br0: tc", "card3: native"]);
    works(&ground, &gateway, &["box-a", "box-b"]);
}
