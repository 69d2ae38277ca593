//! Keeping neighbours resolved, and leaving those of others alone.

use std::{collections::BTreeSet, fs};

use nat_userspace::host::{
    neighbours::{Keeper, Method, Neighbour},
    roster::{self, Noted},
};

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
        keeper.refresh(100).await.unwrap();
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
        keeper.refresh(100).await.unwrap();
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

/// Neighbours on ng0 that natgw has the kernel manage.
fn managed_count() -> usize {
    sh("ip neigh show dev ng0").lines().filter(|line| line.contains("managed")).count()
}

fn noted(count: u16) -> Vec<Noted> {
    let ifindex = ifindex("ng0");
    let at =
        |n: u16| Neighbour { ifindex, addr: [198, 51, 128 + n.to_be_bytes()[0], n.to_be_bytes()[1]].into() };
    (0..count).map(|n| Noted { neighbour: at(n), age_ms: 0 }).collect()
}

#[test]
fn a_spray_of_neighbours_leaves_at_most_the_cap_and_the_gateways_in_it() {
    const CHANGES: usize = 128;
    in_namespace(|| async {
        let _peer = peer();
        sh("ip route add default via 198.51.100.2; ip route add 10.1.0.0/16 via 198.51.100.3");
        let (cap, noted) = (roster::cap(), noted(3000));
        assert!(cap <= 512, "the kernel's default gc_thresh3 is 1024");
        let mut keeper = Keeper::new().await.unwrap();
        let gateways = keeper.gateways(&[ifindex("ng0")]).await.unwrap();
        let mut before = 0;
        for _ in 0..=cap.div_ceil(CHANGES) {
            let roster = roster::choose(keeper.kept(), &gateways, &noted, cap);
            assert_eq!(roster.refused, 3000 + gateways.len() - cap);
            keeper.approach(&roster, CHANGES).await.unwrap();
            let now = managed_count();
            assert!(now <= cap && now <= before + CHANGES, "{before} -> {now}");
            for gateway in ["198.51.100.2", "198.51.100.3"] {
                assert!(shown(gateway).contains("managed"), "{gateway}");
            }
            before = now;
        }
        assert_eq!(before, cap);

        // Nobody is noted any more: the gateways stay.
        while keeper.kept().len() > gateways.len() {
            let roster = roster::choose(keeper.kept(), &gateways, &[], cap);
            keeper.approach(&roster, CHANGES).await.unwrap();
        }
        assert_eq!(managed_count(), gateways.len());
    });
}

#[test]
fn an_interface_that_refuses_does_not_use_up_the_work_of_a_round() {
    in_namespace(|| async {
        let _peer = peer();
        sh("ip link add ng9 type veth peer name ng9-p");
        let down = ifindex("ng9");
        sh("ip link del ng9");
        let mut keeper = Keeper::new().await.unwrap();
        let mut all = noted(3);
        all.extend(
            noted(200)
                .into_iter()
                .map(|n| Noted { neighbour: Neighbour { ifindex: down, ..n.neighbour }, ..n }),
        );
        let roster = roster::choose(&BTreeSet::new(), &BTreeSet::new(), &all, 500);
        keeper.approach(&roster, 8).await.unwrap_err();
        assert_eq!(managed_count(), 3);
    });
}

#[test]
fn what_was_flushed_is_kept_again_a_part_at_a_time_until_all_is() {
    in_namespace(|| async {
        let _peer = peer();
        let mut keeper = Keeper::new().await.unwrap();
        let roster = roster::choose(&BTreeSet::new(), &BTreeSet::new(), &noted(50), 50);
        keeper.approach(&roster, 100).await.unwrap();
        let gone: Vec<String> =
            roster.others.iter().map(|n| format!("neigh del {} dev ng0", n.addr)).collect();
        let mut batch = tempfile::NamedTempFile::new().unwrap();
        std::io::Write::write_all(&mut batch, gone.join("\n").as_bytes()).unwrap();
        sh(&format!("ip -batch {}", batch.path().display()));
        assert_eq!(managed_count(), 0);
        for expected in [20, 40, 50, 50] {
            keeper.refresh(20).await.unwrap();
            assert_eq!(managed_count(), expected);
        }
    });
}
