//! Goodput of one TCP connection through natgw next to nft masquerade, in the same place.

use std::time::Duration;

use nat_tests::lab::{Netns, SRV_A, bulk};

use crate::ground::Ground;
use crate::traffic::{Internet, TRANSFER};
use crate::{at, bridge, tap};

/// One measurement.
const TURN: Duration = Duration::from_millis(1500);
const ROUNDS: usize = 5;

/// Medians in Gbit/s, down and up.
fn measure(host: &Netns) -> [f64; 2] {
    let server = at(SRV_A, TRANSFER);
    let mut rounds = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        rounds[0].push(bulk::download_speed(host, server, TURN).unwrap() / 1e9);
        rounds[1].push(bulk::upload_speed(host, server, TURN).unwrap() / 1e9);
    }
    rounds.map(|mut r| {
        r.sort_by(f64::total_cmp);
        r[ROUNDS / 2]
    })
}

/// The same topology twice, because what one gateway leaves must not slow the other.
fn compare(what: &str, at_least: f64, make: impl Fn() -> Measured) {
    let nft = {
        let kernel = make();
        kernel.ground.masquerade("out0");
        let _servers = Internet::start(&kernel.ground);
        measure(kernel.ground.node(kernel.host))
    };
    let ours = make();
    let _gateway = ours.ground.gateway(&[ours.inside], &["out0"]);
    let _servers = Internet::start(&ours.ground);
    let natgw = measure(ours.ground.node(ours.host));
    let mut slow = Vec::new();
    for (n, direction) in ["down", "up"].iter().enumerate() {
        let ratio = natgw[n] / nft[n];
        println!("{what}, {direction}: nft {:.2}, natgw {:.2} Gbit/s: {ratio:.2}", nft[n], natgw[n]);
        if ratio < at_least {
            slow.push(*direction);
        }
    }
    assert!(slow.is_empty(), "{what}: less than {at_least} of nft's goodput: {slow:?}");
}

struct Measured {
    ground: Ground,
    inside: &'static str,
    host: &'static str,
    _relay: Option<nat_tests::lab::relay::Relay>,
}

#[test]
#[ignore = "deep: measures for half a minute"]
fn deep_a_container_on_a_veth_is_as_fast_as_with_nft() {
    compare("veth", 0.9, || {
        let ground = crate::veth::container();
        ground.veth(("gw", "out0"), ("net", "eth0"));
        ground.outside_by("out0", "eth0");
        Measured { ground, inside: "in0", host: "box", _relay: None }
    });
}

#[test]
#[ignore = "deep: measures for half a minute"]
fn deep_containers_on_a_bridge_are_as_fast_as_with_nft() {
    compare("bridge", 0.9, || {
        let ground = bridge::containers();
        ground.veth(("gw", "out0"), ("net", "eth0"));
        ground.outside_by("out0", "eth0");
        Measured { ground, inside: "br0", host: "box-a", _relay: None }
    });
}

#[test]
#[ignore = "deep: measures for half a minute"]
fn deep_a_virtual_machine_is_as_fast_as_with_nft() {
    compare("tap", 0.8, || {
        let (ground, relay) = tap::machine();
        ground.veth(("gw", "out0"), ("net", "eth0"));
        ground.outside_by("out0", "eth0");
        Measured { ground, inside: "tap0", host: "vm", _relay: Some(relay) }
    });
}
