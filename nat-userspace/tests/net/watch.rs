//! Events of links, neighbours, routes, addresses and rules.

use std::{io::Write, time::Duration};

use nat_userspace::host::watch::{HostEvent, Watch};

use crate::netns::{ifindex, in_namespace, sh};

const VETH: &str = "ip link add ng0 type veth peer name ng0-p; ip addr add 10.0.0.1/24 dev ng0; \
                    ip link set ng0-p up; ip link set ng0 up";

/// Events up to the first that `is` it.
async fn until(watch: &mut Watch, what: &str, is: impl Fn(&HostEvent) -> bool) -> Vec<HostEvent> {
    let mut seen = Vec::new();
    let found = async {
        while let Some(event) = watch.next().await {
            let done = is(&event);
            seen.push(event);
            if done {
                return;
            }
        }
        panic!("the watch ended");
    };
    let result = tokio::time::timeout(Duration::from_secs(10), found).await;
    assert!(result.is_ok(), "no {what} in {seen:?}");
    seen
}

#[test]
fn links_are_followed_through_their_life() {
    in_namespace(|| async {
        sh(VETH);
        let index = ifindex("ng0");
        let mut watch = Watch::new().await.unwrap();

        sh("ip link set ng0 down");
        until(
            &mut watch,
            "link down",
            |e| matches!(e, HostEvent::LinkChanged { index: i, up: false, .. } if *i == index),
        )
        .await;
        sh("ip link set ng0 address 02:00:00:00:00:42; ip link set ng0 up");
        until(
            &mut watch,
            "link up",
            |e| matches!(e, HostEvent::LinkUp { name, mac: [2, 0, 0, 0, 0, 0x42], .. } if name == "ng0"),
        )
        .await;
        sh("ip link set ng0 down; ip link set ng0 name ng1");
        let renamed = HostEvent::LinkRenamed { index, before: "ng0".into(), name: "ng1".into() };
        until(&mut watch, "rename", |e| *e == renamed).await;
        sh("ip link del ng1");
        until(&mut watch, "link gone", |e| *e == HostEvent::LinkGone { index, name: "ng1".into() }).await;
        sh(VETH);
        until(&mut watch, "link again", |e| matches!(e, HostEvent::LinkUp { name, .. } if name == "ng0"))
            .await;
    });
}

#[test]
fn what_changes_nothing_is_no_link_event() {
    in_namespace(|| async {
        sh(VETH);
        let mut watch = Watch::new().await.unwrap();
        sh("ip link set ng0 alias x; ip link set ng0 txqueuelen 77; ip rule add from 10.9.9.9 table 77");
        let seen = until(&mut watch, "rule", |e| *e == HostEvent::Rules).await;
        assert_eq!(seen, [HostEvent::Rules]);
    });
}

#[test]
fn neighbours_routes_addresses_and_rules_are_reported() {
    in_namespace(|| async {
        sh(VETH);
        let ifindex = ifindex("ng0");
        let mut watch = Watch::new().await.unwrap();
        let neighbour = |last: Option<u8>| HostEvent::Neighbour {
            ifindex,
            addr: [10, 0, 0, 9].into(),
            usable: last.is_some(),
            lladdr: last.map(|l| [2, 0, 0, 0, 0, l]),
        };

        sh("ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:01 dev ng0 nud reachable");
        until(&mut watch, "new neighbour", |e| *e == neighbour(Some(1))).await;
        sh("ip neigh change 10.0.0.9 lladdr 02:00:00:00:00:02 dev ng0 nud reachable");
        until(&mut watch, "changed neighbour", |e| *e == neighbour(Some(2))).await;
        sh("ip neigh del 10.0.0.9 dev ng0");
        until(&mut watch, "deleted neighbour", |e| matches!(e, HostEvent::Neighbour { usable: false, .. }))
            .await;

        sh("ip route add default via 10.0.0.2");
        until(&mut watch, "route", |e| *e == HostEvent::Routes).await;
        sh("ip addr add 10.7.0.1/32 dev ng0");
        until(&mut watch, "address", |e| *e == HostEvent::Addresses).await;
        sh("ip rule add from 10.9.9.9 table 77");
        until(&mut watch, "rule", |e| *e == HostEvent::Rules).await;
        sh("ip nexthop add id 7 via 10.0.0.3 dev ng0");
        until(&mut watch, "next-hop object", |e| *e == HostEvent::Routes).await;
    });
}

#[test]
fn an_overrun_is_reported_and_links_are_read_again() {
    in_namespace(|| async {
        sh(VETH);
        let index = ifindex("ng0");
        let mut watch = Watch::new().await.unwrap();
        // Blocks this thread, so that nobody reads the socket meanwhile.
        let mut batch = tempfile::NamedTempFile::new().unwrap();
        for i in 0..4000 {
            writeln!(batch, "route add 10.{}.{}.0/24 dev ng0", 100 + i / 250, i % 250).unwrap();
        }
        sh(&format!("ip -batch {}; ip link del ng0", batch.path().display()));
        let seen =
            until(&mut watch, "link gone", |e| *e == HostEvent::LinkGone { index, name: "ng0".into() }).await;
        assert!(seen.contains(&HostEvent::Overrun));
    });
}
