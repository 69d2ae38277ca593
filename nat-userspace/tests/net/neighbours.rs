//! Keeping neighbours resolved, and leaving those of others alone.

use std::{collections::BTreeSet, fs};

use nat_userspace::net::neighbours::{Keeper, Method, Neighbour};

use crate::netns::{Peer, eventually, ifindex, in_namespace, sh};

fn peer() -> Peer {
    Peer::new("ng0", "198.51.100.1/24", "ngp", "198.51.100.2/24")
}

fn shown(addr: &str) -> String {
    sh(&format!("ip neigh show {addr}"))
}

fn neighbour(addr: &str) -> Neighbour {
    Neighbour { ifindex: ifindex("ng0"), addr: addr.parse().unwrap() }
}

#[test]
fn a_kept_neighbour_is_resolved_without_traffic_and_follows_a_silent_change() {
    in_namespace(|| async {
        let peer = peer();
        // Ages in a second, not half a minute.
        for (key, value) in [
            ("base_reachable_time_ms", "500"),
            ("delay_first_probe_time", "1"),
            ("interval_probe_time_ms", "500"),
            ("retrans_time_ms", "100"),
        ] {
            fs::write(format!("/proc/sys/net/ipv4/neigh/ng0/{key}"), value).unwrap();
        }
        let mut keeper = Keeper::new().await.unwrap();
        let Neighbour { ifindex, addr } = neighbour("198.51.100.2");
        keeper.manage(ifindex, addr).await.unwrap();
        assert_eq!(keeper.method(), Some(Method::Managed));
        eventually("resolved", || shown("198.51.100.2").contains("REACHABLE").then_some(())).await;

        sh(&format!("ip -n {} link set ngp address 02:00:00:00:00:77", peer.name));
        eventually("the new MAC", || shown("198.51.100.2").contains("02:00:00:00:00:77").then_some(())).await;
        eventually("reachable again", || shown("198.51.100.2").contains("REACHABLE").then_some(())).await;
    });
}

#[test]
fn a_set_is_kept_and_let_go() {
    in_namespace(|| async {
        let _peer = peer();
        let mut keeper = Keeper::new().await.unwrap();
        let [a, b] = ["198.51.100.2", "198.51.100.3"].map(neighbour);
        keeper.set(&BTreeSet::from([a])).await.unwrap();
        assert!(shown("198.51.100.2").contains("managed"));
        keeper.set(&BTreeSet::from([b])).await.unwrap();
        let old = shown("198.51.100.2");
        assert!(old.contains("lladdr"), "it stays known: {old}");
        assert!(!old.contains("managed") && !old.contains("extern_learn"), "{old}");
        assert!(shown("198.51.100.3").contains("managed"));

        keeper.unmanage_all().await.unwrap();
        assert!(!sh("ip neigh").contains("managed"));
        assert!(keeper.kept().is_empty());
    });
}

#[test]
fn flushed_neighbours_are_kept_again() {
    in_namespace(|| async {
        let _peer = peer();
        let mut keeper = Keeper::new().await.unwrap();
        let Neighbour { ifindex, addr } = neighbour("198.51.100.2");
        keeper.manage(ifindex, addr).await.unwrap();
        sh("ip neigh flush all; ip neigh del 198.51.100.2 dev ng0 2>/dev/null || true");
        assert!(!shown("198.51.100.2").contains("managed"));
        keeper.refresh().await.unwrap();
        assert!(shown("198.51.100.2").contains("managed"));
        eventually("resolved", || shown("198.51.100.2").contains("REACHABLE").then_some(())).await;
    });
}

#[test]
fn what_a_crash_left_managed_is_recognised() {
    in_namespace(|| async {
        let _peer = peer();
        let Neighbour { ifindex, addr } = neighbour("198.51.100.2");
        Keeper::new().await.unwrap().manage(ifindex, addr).await.unwrap();
        sh("ip neigh add 198.51.100.4 dev ng0 managed extern_learn");

        let mut keeper = Keeper::new().await.unwrap();
        assert_eq!(*keeper.kept(), BTreeSet::from([Neighbour { ifindex, addr }]));
        keeper.unmanage_all().await.unwrap();
        assert!(!shown("198.51.100.2").contains("managed"));
        assert!(shown("198.51.100.4").contains("managed"), "another program's");
    });
}

#[test]
fn entries_of_others_are_left_alone() {
    in_namespace(|| async {
        let _peer = peer();
        sh("ip neigh add 198.51.100.2 lladdr 02:00:00:00:00:55 dev ng0 nud permanent");
        sh("ip neigh add 198.51.100.4 dev ng0 managed extern_learn");
        let before = (shown("198.51.100.2"), shown("198.51.100.4").contains("managed"));
        let mut keeper = Keeper::new().await.unwrap();
        keeper.set(&["198.51.100.2", "198.51.100.4"].map(neighbour).into()).await.unwrap();
        keeper.refresh().await.unwrap();
        keeper.unmanage_all().await.unwrap();
        assert_eq!((shown("198.51.100.2"), shown("198.51.100.4").contains("managed")), before);
        assert!(before.0.contains("PERMANENT"));
    });
}

#[test]
fn an_interface_that_went_away_is_no_reason_to_fail_on_exit() {
    in_namespace(|| async {
        let _peer = peer();
        let mut keeper = Keeper::new().await.unwrap();
        let Neighbour { ifindex, addr } = neighbour("198.51.100.2");
        keeper.manage(ifindex, addr).await.unwrap();
        sh("ip link del ng0");
        keeper.unmanage_all().await.unwrap();
    });
}

#[test]
fn gateways_are_found_in_every_kind_of_route() {
    in_namespace(|| async {
        let _peer = peer();
        sh(
            "ip link add ng1 type veth peer name ng1-p; ip addr add 192.0.2.1/24 dev ng1; ip link set ng1-p up",
        );
        sh("ip link set ng1 up; ip route add 10.1.0.0/16 via 192.0.2.9");
        sh("ip route add default via 198.51.100.2; ip route add 10.2.0.0/16 via 198.51.100.3 table 77");
        sh("ip route add 10.3.0.0/16 nexthop via 198.51.100.4 nexthop via 192.0.2.8");
        sh("ip nexthop add id 7 via 198.51.100.5 dev ng0; ip route add 10.4.0.0/16 nhid 7");
        let keeper = Keeper::new().await.unwrap();
        let found = keeper.gateways(&[ifindex("ng0")]).await.unwrap();
        let expected = ["198.51.100.2", "198.51.100.3", "198.51.100.4", "198.51.100.5"].map(neighbour);
        assert_eq!(found, expected.into());
    });
}
