//! What the packet path is told of the host: how it was before natgw, its addresses, its routes' MTUs, reserved ports.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use nat_common::eip::ReservedPort;
use nat_common::hop::{Iface, Rpf};
use nat_common::{Addr, Eip};
use nat_tests::lab::{GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, Topology, WAN, eip, wait_until};
use nat_userspace::datapath::maps;
use nat_userspace::datapath::pins::Pins;

const PATIENCE: Duration = Duration::from_secs(10);

fn iface(lab: &Lab, gateway: &Gateway<'_>, name: &str) -> Iface {
    let link = lab.gw().output("ip", &["-o", "link", "show", name]).unwrap();
    let index = link.split(':').next().unwrap().parse().unwrap();
    maps::ifaces(&Pins::new(gateway.bpffs())).unwrap().get(&index, 0).unwrap()
}

fn route_mtus(gateway: &Gateway<'_>) -> BTreeMap<String, u32> {
    let map = maps::route_mtu(&Pins::new(gateway.bpffs())).unwrap();
    map.iter()
        .map(|r| r.map(|(key, mtu)| (format!("{}/{}", Ipv4Addr::from(key.data()), key.prefix_len()), mtu)))
        .collect::<Result<_, _>>()
        .unwrap()
}

fn expect(mtus: &[(&str, u32)]) -> BTreeMap<String, u32> {
    mtus.iter().map(|(net, mtu)| ((*net).to_owned(), *mtu)).collect()
}

fn broadcasts(iface: &Iface) -> Vec<Ipv4Addr> {
    iface.broadcasts.iter().filter(|b| **b != Addr::default()).map(|b| Ipv4Addr::from(*b)).collect()
}

#[test]
fn what_the_host_was_like_holds_also_for_the_next_start() {
    let lab = Lab::two_armed(1).unwrap();
    let set = |key: &str, value| lab.gw().sysctl(&format!("net.ipv4.conf.{key}"), value).unwrap();
    set("all.rp_filter", "0");
    set("in0.rp_filter", "1");
    set("in0.forwarding", "0");
    set("out0.rp_filter", "2");
    set("out0.forwarding", "1");
    let options = Options::one_eip().arg("--persist").arg("--rpf").arg("off");
    let mut gateway = Gateway::start(&lab, &options).unwrap();
    for start in 1..=2 {
        let (inside, outside) = (iface(&lab, &gateway, "in0"), iface(&lab, &gateway, "out0"));
        assert_eq!((inside.rpf, inside.forwarded), (Rpf::Strict as u8, 0), "start {start}");
        assert_eq!((outside.rpf, outside.forwarded), (Rpf::Loose as u8, 1), "start {start}");
        assert_eq!(Ipv4Addr::from(inside.inside_addr), GW_INSIDE);
        assert_eq!(Ipv4Addr::from(outside.outside_addr), GW_OUTSIDE, "and not the EIP that natgw added");
        if start == 1 {
            gateway.kill9().unwrap();
            gateway = Gateway::start(&lab, &options).unwrap();
        }
    }
    assert_eq!(lab.gw().read_sysctl("net.ipv4.conf.out0.rp_filter").unwrap().trim(), "2");
    gateway.stop().unwrap();
    gateway.say(&["detach"]).unwrap();
    assert_eq!(lab.gw().read_sysctl("net.ipv4.conf.in0.rp_filter").unwrap().trim(), "1");
}

#[test]
fn the_hosts_addresses_are_followed() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let before = iface(&lab, &gateway, "in0");
    assert_eq!(broadcasts(&before), [Ipv4Addr::new(10, 0, 0, 255)]);
    lab.gw().ip("addr add 10.7.0.1/16 brd 10.7.0.9 dev in0").unwrap();
    let networks: Vec<Ipv4Addr> =
        ["10.0.0.255", "10.7.0.9", "10.7.255.255"].map(|a| a.parse().unwrap()).into();
    wait_until("the second network", PATIENCE, || broadcasts(&iface(&lab, &gateway, "in0")) == networks);
    assert_eq!(iface(&lab, &gateway, "in0").inside_addr, before.inside_addr);
    lab.gw().ip(&format!("addr del {GW_INSIDE}/24 dev in0")).unwrap();
    wait_until("the other address", PATIENCE, || {
        iface(&lab, &gateway, "in0").inside_addr == Addr::from_octets([10, 7, 0, 1])
    });
    assert_eq!(iface(&lab, &gateway, "in0").devmap, before.devmap);
}

#[test]
fn mtus_of_routes_are_followed() {
    let lab = Lab::two_armed(1).unwrap();
    lab.gw().ip(&format!("route add 198.51.100.0/24 via {WAN} mtu lock 1300")).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    assert_eq!(route_mtus(&gateway), expect(&[("198.51.100.0/24", 1300)]), "from the start");
    lab.gw()
        .ip(&format!("route add 198.51.100.128/25 via {WAN}\nroute add 203.0.113.0/24 via {WAN} mtu 900"))
        .unwrap();
    let three = expect(&[("198.51.100.0/24", 1300), ("198.51.100.128/25", 0), ("203.0.113.0/24", 900)]);
    wait_until("two more routes", PATIENCE, || route_mtus(&gateway) == three);
    // By a rule, from another table.
    lab.gw().ip(&format!("route add 203.0.113.0/24 via {WAN} table 77 mtu 800")).unwrap();
    lab.gw().ip("rule add from 10.0.0.9 table 77").unwrap();
    wait_until("the smaller MTU", PATIENCE, || route_mtus(&gateway).get("203.0.113.0/24") == Some(&800));
    lab.gw().ip("rule del table 77\nroute del 203.0.113.0/24\nroute del 198.51.100.0/24").unwrap();
    wait_until("none", PATIENCE, || route_mtus(&gateway).is_empty());
}

#[test]
fn reserved_ports_follow_the_configuration() {
    let config = |reserved: &str| Options {
        config: Some(format!(
            "answers_per_second = 77\n[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n\
             [[pool]]\neips = [\"{}\", \"{}\"]\n[reserved]\nports = {{ {reserved} }}\n",
            eip(0),
            eip(1)
        )),
        ..Options::default().arg("--persist")
    };
    let lab = Lab::start(Topology::default()).unwrap();
    let mut gateway =
        Gateway::start(&lab, &config(&format!("\"{}\" = [\"udp/4789\", \"tcp/5000-5003\"]", eip(0))))
            .unwrap();
    let pins = Pins::new(gateway.bpffs());
    assert_eq!(maps::settings(&pins).unwrap().get(&0, 0).unwrap().answers_per_second, 77);
    let keys = || {
        let mut keys: Vec<(u32, ReservedPort)> = maps::reserved(&pins)
            .unwrap()
            .iter()
            .map(|r| r.map(|(k, _)| (k.prefix_len(), k.data())))
            .collect::<Result<_, _>>()
            .unwrap();
        keys.sort_by_key(|(_, p)| p.port.host());
        keys.into_iter()
            .map(|(bits, p)| (bits, Ipv4Addr::from(p.addr), p.proto, p.port.host()))
            .collect::<Vec<_>>()
    };
    let reserves = |n: u8| -> u8 {
        let eip: Eip = maps::eips(&pins).unwrap().get(&Addr::from(eip(n)), 0).unwrap();
        eip.reserves
    };
    assert_eq!(keys(), [(64, eip(0), 17, 4789), (62, eip(0), 6, 5000)]);
    assert_eq!((reserves(0), reserves(1)), (1, 0));
    gateway.kill9().unwrap();
    let _again = Gateway::start(&lab, &config(&format!("\"{}\" = [\"icmp/4789\"]", eip(1)))).unwrap();
    assert_eq!(keys(), [(64, eip(1), 1, 4789)]);
    assert_eq!((reserves(0), reserves(1)), (0, 1));
}
