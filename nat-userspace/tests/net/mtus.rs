//! MTUs of routes, as the kernel lists them.

use std::time::Duration;

use ipnet::Ipv4Net;
use nat_userspace::host::mtus::{self, RouteMtus};

use crate::netns::{Peer, eventually, in_namespace, sh};

async fn read() -> Vec<(String, u32)> {
    let RouteMtus { mtus, left_out, ignored } = mtus::read().await.unwrap();
    assert_eq!((left_out, ignored), (0, 0));
    mtus.into_iter().map(|(net, mtu): (Ipv4Net, u32)| (net.to_string(), mtu)).collect()
}

fn expect(texts: &[(&str, u32)]) -> Vec<(String, u32)> {
    texts.iter().map(|&(net, mtu)| (net.to_owned(), mtu)).collect()
}

#[test]
fn mtus_are_read_locked_or_not_from_the_tables_that_rules_name() {
    in_namespace(|| async {
        sh(
            "ip link add ng0 type veth peer name ng0-p; ip addr add 192.0.2.1/24 dev ng0; ip link set ng0 up; \
            ip link set ng0-p up",
        );
        assert_eq!(read().await, []);
        sh("ip route add default via 192.0.2.9 mtu lock 1400; \
            ip route add 10.0.0.0/8 via 192.0.2.9; \
            ip route add 10.1.0.0/16 mtu 1300 nexthop via 192.0.2.8 nexthop via 192.0.2.9; \
            ip route add 10.1.0.0/16 via 192.0.2.9 metric 9 mtu 1290; \
            ip route add 10.2.0.0/16 via 192.0.2.9 table 700 mtu 1200; \
            ip route add local 203.0.113.7 dev lo mtu 1100");
        let main = [("0.0.0.0/0", 1400), ("10.0.0.0/8", 0), ("10.1.0.0/16", 1290), ("192.0.2.0/24", 0)];
        assert_eq!(read().await, expect(&main));
        sh("ip rule add from 10.9.9.9 table 700");
        let both = [main[0], main[1], main[2], ("10.2.0.0/16", 1200), main[3]];
        assert_eq!(read().await, expect(&both));
        sh("ip route del default; ip rule del table 700");
        assert_eq!(read().await, expect(&[("10.1.0.0/16", 1290)]));
    });
}

/// Exceptions come from ICMP errors, which anybody can forge.
#[test]
fn an_exception_is_no_route() {
    in_namespace(|| async {
        // A router whose second link takes 1,000 bytes: it says so, and the kernel here remembers.
        let router = Peer::new("ng0", "192.0.2.1/24", "ngp", "192.0.2.2/24");
        let name = &router.name;
        sh(&format!(
            "ip -n {name} link add far mtu 1000 type veth peer name far-p && ip -n {name} link set far-p up && ip -n {name} addr add 198.51.100.1/24 dev far && \
             ip -n {name} link set far up && ip netns exec {name} sysctl -qw net.ipv4.ip_forward=1 && \
             ip route add 198.51.100.0/24 via 192.0.2.2"
        ));
        eventually("the kernel has an exception", || {
            sh("ping -c 1 -W 1 -M do -s 1200 198.51.100.7 || true");
            sh("ip route get 198.51.100.7").contains("mtu 1000").then_some(())
        })
        .await;
        assert_eq!(read().await, []);
    });
}

/// A change is not waited for longer than a table of this size takes to read.
#[test]
fn a_long_table_is_read_whole() {
    in_namespace(|| async {
        sh("ip link add ng0 type veth peer name ng0-p; ip link set ng0 up; ip link set ng0-p up; \
            for i in $(seq 0 39); do for j in $(seq 0 249); do echo route add 10.$i.$j.0/24 dev ng0; done; done \
            | ip -batch -; ip route add 10.0.0.0/8 dev ng0 mtu 1400");
        let started = std::time::Instant::now();
        let found = mtus::read().await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(10));
        assert_eq!((found.mtus.len(), found.left_out, found.ignored), (10_001, 0, 0));
        eprintln!("10,001 routes in {:?}", started.elapsed());
    });
}
