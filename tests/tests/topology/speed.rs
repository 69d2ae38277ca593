//! Goodput of one TCP connection through natgw next to nft masquerade, in the same topology, by turns.

use std::time::Duration;

use nat_tests::lab::{SRV_A, bulk};

use crate::ground::Ground;
use crate::traffic::{Internet, TRANSFER};
use crate::{at, bridge, tap};

/// One measurement.
const TURN: Duration = Duration::from_secs(1);
const ROUNDS: usize = 7;

/// The same topology twice, so that each has its own conntrack and programs. Machines are busy with other things, too: what
/// counts is the median of the ratios of measurements that followed each other.
fn compare(what: &str, at_least: f64, make: impl Fn() -> Measured) {
    let (kernel, ours) = (make(), make());
    kernel.ground.masquerade("out0");
    let _gateway = ours.ground.gateway(&[ours.inside], &["out0"]);
    let _servers = [&kernel, &ours].map(|place| Internet::start(&place.ground));
    let mut slow = Vec::new();
    for (direction, speed) in [("down", bulk::download_speed as Speed), ("up", bulk::upload_speed)] {
        let measure = |place: &Measured| {
            let host = place.ground.node(place.host);
            speed(host, at(SRV_A, TRANSFER), TURN).unwrap() / 1e9
        };
        let rounds: Vec<_> = (0..ROUNDS).map(|_| (measure(&kernel), measure(&ours))).collect();
        let of = |pick: fn(&(f64, f64)) -> f64| median(rounds.iter().map(pick).collect());
        let (nft, natgw, ratio) = (of(|r| r.0), of(|r| r.1), of(|r| r.1 / r.0));
        println!("{what}, {direction}: nft {nft:.2}, natgw {natgw:.2} Gbit/s: {ratio:.2}");
        if ratio < at_least {
            slow.push(direction);
        }
    }
    assert!(slow.is_empty(), "{what}: less than {at_least} of nft's goodput: {slow:?}");
}

type Speed = fn(&nat_tests::lab::Netns, std::net::SocketAddrV4, Duration) -> anyhow::Result<f64>;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
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
