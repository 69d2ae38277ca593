//! Many neighbours, and more changes than the daemon can take in: bounded, told of once, recovered from.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use nat_common::hop::NextHop;
use nat_common::{Addr, Stamp};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients, wait_until};
use nat_userspace::datapath::inspect;
use nix::sys::signal::Signal;

const PATIENCE: Duration = Duration::from_secs(20);

/// More than the cap where the kernel's `gc_thresh3` is not visible, as in the lab's namespaces.
const CAP: usize = 512;

/// What the packet path does for hosts that were seen: `count` neighbours behind an interface.
fn note(gateway: &Gateway<'_>, ifindex: u32, count: u16) {
    let pins = std::fs::read_dir(gateway.bpffs()).unwrap().map(|e| e.unwrap().path());
    let dir = pins.into_iter().find(|p| p.join("NEXTHOPS").exists()).unwrap();
    let map = MapData::from_pin(dir.join("NEXTHOPS")).unwrap();
    let mut map: HashMap<MapData, NextHop, Stamp> = Map::LruHashMap(map).try_into().unwrap();
    let now = inspect::now();
    for n in 0..count {
        let [high, low] = n.to_be_bytes();
        let addr = Addr::from_octets([10, 77, high, low]);
        map.insert(NextHop { ifindex, addr }, now, 0).unwrap();
    }
}

fn ifindex(lab: &Lab, name: &str) -> u32 {
    // "7: in0@if2: <...".
    let shown = lab.gw().output("ip", &["-o", "link", "show", "dev", name]).unwrap();
    shown.split(':').next().unwrap().parse().unwrap()
}

fn managed(lab: &Lab) -> Vec<String> {
    let all = lab.gw().output("ip", &["-4", "neigh"]).unwrap();
    all.lines().filter(|l| l.contains("managed")).map(str::to_owned).collect()
}

fn lines(gateway: &Gateway<'_>, words: &str) -> usize {
    gateway.log().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn a_spray_of_neighbours_is_bounded_and_told_of_once() {
    let lab = Lab::two_armed(1).unwrap();
    let mut gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    wait_until("the router to be kept", PATIENCE, || !managed(&lab).is_empty());
    let gateways = managed(&lab);
    let inside = ifindex(&lab, "in0");
    // They never answer, and are given up one by one; the packet path would note those again that flows go to.
    let mut most = 0;
    wait_until("the neighbours to be noticed", PATIENCE, || {
        note(&gateway, inside, 3000);
        most = most.max(managed(&lab).len());
        lines(&gateway, "more neighbours are in use") == 1 && most > CAP / 2
    });
    for _ in 0..40 {
        note(&gateway, inside, 3000);
        let now = managed(&lab);
        assert!(now.len() <= CAP, "{} are managed", now.len());
        for line in &gateways {
            let address = line.split(' ').next().unwrap();
            assert!(now.iter().any(|l| l.split(' ').next() == Some(address)), "{address} is not kept");
        }
    }
    assert_eq!(lines(&gateway, "more neighbours are in use"), 1, "{}", gateway.log());
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));
    assert!(managed(&lab).is_empty());
}

#[test]
fn an_overrun_of_netlink_is_recovered_from_and_told_of_once() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 53);
    clients::ask_udp(lab.client(0), 5000, server).unwrap();
    for round in 0..3 {
        // Nobody reads the socket meanwhile, and what counts comes last.
        gateway.signal(Signal::SIGSTOP).unwrap();
        churn(&lab, lab.dir(), round);
        let address = format!("02:00:00:00:00:7{round}");
        lab.node("wan").sysctl("net.ipv4.conf.gw0.arp_notify", "1").unwrap();
        lab.node("wan").ip(&format!("link set gw0 address {address}")).unwrap();
        gateway.signal(Signal::SIGCONT).unwrap();
        wait_until("the router to be found at its new address", PATIENCE, || {
            clients::ask_udp(lab.client(0), 5000, server).is_ok()
        });
    }
    assert_eq!(lines(&gateway, "more changes of interfaces"), 1, "{}", gateway.log());
    for words in ["buffer full", "failed to forward"] {
        assert_eq!(lines(&gateway, words), 0, "{}", gateway.log());
    }
}

/// Thousands of changes of routes.
fn churn(lab: &Lab, dir: &Path, round: u8) {
    use std::fmt::Write as _;
    let (mut text, batch) = (String::new(), dir.join(format!("batch{round}")));
    for n in 0..4000u16 {
        let [high, low] = n.to_be_bytes();
        writeln!(text, "route add 10.{}.{low}.0/24 dev in0", 100 + high + 30 * round).unwrap();
    }
    std::fs::write(&batch, text).unwrap();
    lab.gw().output("ip", &["-batch", batch.to_str().unwrap()]).unwrap();
}
