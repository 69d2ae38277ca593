//! The host's own pings from a shared EIP: no identifier that a client holds keeps their answers from the host.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::process::Stdio;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData};
use nat_common::{Stamp, Ticks, Tuple, abi};
use nat_tests::lab::raw::Raw;
use nat_tests::lab::tap::{Direction, mac_of};
use nat_tests::lab::{GW_OUTSIDE, Gateway, Lab, Options, SRV_A, Topology, client_addr, clients, wait_until};
use nat_tests::packet::Packet;
use nat_userspace::datapath::inspect;
use nat_userspace::datapath::pins::Pins;

use super::PATIENCE;
use super::wire::GHOST;

/// The identifiers of the shared EIP.
const FIRST: u16 = 20_000;
const COUNT: u16 = 64;

fn options() -> Options {
    Options { eips: vec![GW_OUTSIDE.to_string()], ..Options::default() }
        .arg("--ports")
        .arg(&format!("{FIRST}-{}", FIRST + COUNT - 1))
}

/// M, with its own address.
fn hostile(lab: &Lab) -> Raw {
    let inside = lab.topology().inside()[0];
    let macs = (mac_of(lab.client(0), "eth0").unwrap(), mac_of(lab.gw(), inside).unwrap());
    Raw::at(lab.client(0), "eth0", macs.0, macs.1).unwrap()
}

/// M asks for identifiers towards `to` until it has `wanted` of them: those that it sent and got, and those outside.
fn hold(gateway: &Gateway<'_>, m: &Raw, to: Ipv4Addr, wanted: usize) -> Vec<(u16, u16)> {
    let mut id = 0;
    let mut held = Vec::new();
    wait_until("M to hold the identifiers", PATIENCE, || {
        for _ in 0..16 {
            id += 1;
            m.send(Packet::echo_request(client_addr(0), to, id)).unwrap();
        }
        held = flows(gateway, to);
        held.len() >= wanted
    });
    held
}

/// Identifiers of M's flows towards a destination, inside and outside.
fn flows(gateway: &Gateway<'_>, to: Ipv4Addr) -> Vec<(u16, u16)> {
    let id = |text: &serde_json::Value| text.as_str().unwrap().rsplit_once(':').unwrap().1.parse().unwrap();
    let all = gateway.flows(&["--dst", &to.to_string(), "--proto", "icmp"]).unwrap();
    all.iter().map(|f| (id(&f["inside"]), id(&f["eip"]))).collect()
}

/// What the gateway has noted of the host's pings.
fn pings(gateway: &Gateway<'_>) -> HashMap<MapData, Tuple, Stamp> {
    let pin = Pins::new(gateway.bpffs()).map(abi::map::PINGS);
    HashMap::try_from(Map::LruHashMap(MapData::from_pin(pin).unwrap())).unwrap()
}

/// Of these identifiers, those with which the host's ping gets no answer.
fn unanswered(lab: &Lab, ids: impl IntoIterator<Item = u16>) -> Vec<u16> {
    let ping = |id: u16| clients::ping(lab.gw(), SRV_A, 1, &["-e", &id.to_string()]).unwrap();
    ids.into_iter().filter(|id| ping(*id) != 1).collect()
}

/// A client can hold every identifier towards a server that the host watches. Its answers came to the client, and the
/// server looked dead to the host.
fn the_hosts_pings_are_answered(topology: Topology) {
    let lab = Lab::start(topology).unwrap();
    let gateway = Gateway::start(&lab, &options()).unwrap();
    let m = hostile(&lab);
    let held = hold(&gateway, &m, SRV_A, usize::from(COUNT));
    let (first, others) = (FIRST..FIRST + COUNT / 2, FIRST + COUNT / 2..FIRST + COUNT);
    assert_eq!(unanswered(&lab, first.clone()), [0; 0], "identifiers that M held");

    let tap = lab.inside_tap().unwrap();
    let others_of_m: Vec<u16> = held.iter().filter(|(_, o)| others.contains(o)).map(|(i, _)| *i).collect();
    assert_eq!(others_of_m.len(), usize::from(COUNT) / 2);
    for id in &others_of_m {
        m.send(Packet::echo_request(client_addr(0), SRV_A, *id)).unwrap();
    }
    let answered = || -> BTreeSet<u16> {
        let answers = tap.find(|p, d| d == Direction::Received && p.src == SRV_A && p.dst == client_addr(0));
        answers.iter().map(|p| p.dport).collect()
    };
    wait_until("M's other flows go on", PATIENCE, || others_of_m.iter().all(|id| answered().contains(id)));

    // A router's error about the host's ping is the host's too.
    let out = lab
        .gw()
        .command("ping")
        .args(["-n", "-c", "1", "-W", "2", "-t", "1", "-e", &others.start.to_string(), &SRV_A.to_string()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(said.contains("Time to live exceeded"), "{said}");

    // M insists.
    for id in 1..=4 * COUNT {
        m.send(Packet::echo_request(client_addr(0), SRV_A, id)).unwrap();
    }
    assert_eq!(unanswered(&lab, first.chain(others)), [0; 0], "all identifiers, while M insists");
}

#[test]
fn a_client_that_holds_all_identifiers_does_not_keep_answers_from_the_host() {
    the_hosts_pings_are_answered(Topology { clients: 1, ..Topology::default() });
}

#[test]
fn the_same_on_one_arm() {
    the_hosts_pings_are_answered(Topology::one_armed(1));
}

/// While the host waits for an answer, nobody gets the identifier that it asked with.
#[test]
fn an_identifier_that_the_host_asked_with_is_not_given_away() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &options()).unwrap();
    let hosts = FIRST + 7;
    let tap = lab.outside_tap().unwrap();
    assert_eq!(clients::ping(lab.gw(), GHOST, 1, &["-e", &hosts.to_string()]).unwrap(), 0, "nobody answers");
    tap.wait_for(PATIENCE, |p, _| p.dst == GHOST && p.sport == hosts).expect("the host's ping left");
    let held = hold(&gateway, &hostile(&lab), GHOST, usize::from(COUNT) - 1);
    let outside: BTreeSet<u16> = held.iter().map(|(_, o)| *o).collect();
    wait_until("the rest to be refused", Duration::from_secs(8), || {
        gateway.drops("port_exhausted").unwrap() > 0
    });
    let expected: BTreeSet<u16> = (FIRST..FIRST + COUNT).filter(|id| *id != hosts).collect();
    assert_eq!(outside, expected);

    // A minute later it is anybody's.
    let mut pings = pings(&gateway);
    let noted: Vec<(Tuple, Stamp)> = pings.iter().collect::<Result<_, _>>().unwrap();
    let (answer, _) = noted.iter().find(|(a, _)| a.src == GHOST.into()).unwrap();
    let minute_ago =
        Stamp { word: inspect::now().word.wrapping_sub(Ticks::from_ms(60_000).0) & i32::MAX as u32 };
    pings.insert(answer, minute_ago, 0).unwrap();
    hold(&gateway, &hostile(&lab), GHOST, usize::from(COUNT));
}
