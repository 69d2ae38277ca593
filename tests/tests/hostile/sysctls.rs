//! What a gateway opens of its host: nothing but what it is for. What E and M can reach before natgw starts is written
//! down packet by packet, and compared with what they can reach after.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use nat_tests::lab::raw::{Raw, Recorder, Watch, label, label_in};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, Tap};
use nat_tests::lab::{
    DMZ, EVIL, Frame, GW_DMZ, GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Netns, Options, SRV_A, Topology, WAN,
    client_addr, clients, eip, is_inside, wait_until,
};
use nat_tests::packet::{Packet, Parsed, flags};

use super::{PATIENCE, SERVICE, assert_none, at};

/// An address on the outside wire that no host has.
const NOBODY: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// A host at a site that is routed, not translated: by the unmanaged interface.
const SITE: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 5);
/// Ports that natgw gives, none of which a probe uses.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=9999;

/// Everything that listens, and what is captured where packets arrive.
struct Targets {
    services: Vec<(&'static str, Recorder)>,
    _listeners: Vec<Server>,
    dmz: Tap,
}

impl Targets {
    fn start(lab: &Lab) -> Self {
        let hosts =
            [("gw", lab.gw()), ("dmz", lab.node("dmz")), ("b", lab.client(1)), ("srv-a", lab.node("srv-a"))];
        let record = |(name, ns): (&'static str, &Netns)| (name, Recorder::start(ns, any(SERVICE)).unwrap());
        Self {
            services: hosts.map(record).into(),
            _listeners: hosts.iter().map(|(_, ns)| Server::tcp_hold(ns, any(SERVICE)).unwrap()).collect(),
            dmz: Tap::start(lab.node("dmz"), "eth0").unwrap(),
        }
    }

    fn clear(&self) {
        self.services.iter().for_each(|(_, service)| service.clear());
        self.dmz.clear();
    }
}

const BEFORE: &str = "before, ";

/// Who sends as whom, and to whom.
fn probes() -> Vec<(&'static str, Ipv4Addr, Ipv4Addr)> {
    let common =
        [EVIL, NOBODY, client_addr(1), client_addr(2), DMZ, SITE, GW_OUTSIDE, GW_INSIDE, GW_DMZ, eip(0)];
    let places = [GW_OUTSIDE, GW_INSIDE, GW_DMZ, eip(0), DMZ, SITE, client_addr(1), SRV_A];
    let mut all = Vec::new();
    for who in ["E", "M"] {
        for src in common.into_iter().chain([[127, 0, 0, 1].into(), [198, 51, 100, 77].into()]) {
            all.extend(places.map(|dst| (who, src, dst)));
        }
    }
    all
}

/// Sends every probe and tells which of them arrived somewhere, and how.
///
/// `phase` tells the packets of one time from those of another: what waits for an ARP that fails comes back as an error
/// seconds later.
fn reached(lab: &Lab, targets: &Targets, watch: &Watch, phase: &str) -> BTreeSet<String> {
    let (e, m) = (Raw::outside(lab).unwrap(), Raw::inside(lab).unwrap());
    targets.clear();
    watch.clear();
    let mut ports = Vec::new();
    for (n, (who, src, dst)) in (0..).zip(probes()) {
        let port = n + if phase == BEFORE { 20_000 } else { 30_000 };
        let name = format!("{who} as {src} to {dst}");
        let sender = if who == "E" { &e } else { &m };
        let say = |how: &str| label(&format!("{phase}{how}: {name}"));
        sender.send(Packet::udp(at(src, port), at(dst, SERVICE)).payload(say("udp"))).unwrap();
        sender.send(Packet::udp(at(src, port), at(dst, 9)).payload(say("udp, closed"))).unwrap();
        sender.send(Packet::tcp(at(src, port), at(dst, SERVICE), flags::SYN).payload(say("syn"))).unwrap();
        sender.send(Packet::echo_request(src, dst, port).payload(say("ping"))).unwrap();
        ports.push((port, name));
    }
    watch.settle();
    let of_phase = |label: String| label.strip_prefix(phase).map(str::to_owned);
    let mut all: BTreeSet<String> = BTreeSet::new();
    for (service, recorder) in &targets.services {
        let labels = recorder.labels().into_iter().filter_map(of_phase);
        all.extend(labels.map(|l| format!("{l} arrives at a service of {service}")));
    }
    // Whatever the gateway sends because of a probe: forwarded, or answered.
    for (place, tap) in [("outside", &watch.outside), ("inside", &watch.inside), ("at dmz", &targets.dmz)] {
        let received =
            tap.frames().into_iter().filter(|f| f.direction == Direction::Received && !is_by_eip(f));
        let labels = received.filter_map(|f| label_in(&f.bytes)).filter_map(of_phase);
        all.extend(labels.map(|l| format!("{l} comes out {place}")));
    }
    for (port, name) in ports {
        let answer = |tap: &Tap| {
            !tap.find(|p, d| d == Direction::Received && p.proto == 6 && p.dport == port).is_empty()
        };
        if [&watch.inside, &watch.outside, &targets.dmz].into_iter().any(answer) {
            all.insert(format!("syn: {name} is answered"));
        }
    }
    all
}

/// Whether natgw gave the frame its source: that is what natgw is for.
fn is_by_eip(frame: &Frame) -> bool {
    frame.parsed().is_some_and(|p| p.src == eip(0) && PORTS.contains(&p.sport))
}

/// What a gateway may open, because it is asked to: the way out for clients; the way between inside hosts, which it
/// routes; and what the configuration exempts.
fn is_meant_to_be_open((who, src, dst): (&str, Ipv4Addr, Ipv4Addr), exempt: bool) -> bool {
    let client = who == "M" && [client_addr(1), client_addr(2)].contains(&src);
    client && (dst == SRV_A || dst == client_addr(1) || (exempt && dst == SITE))
}

/// Neighbours that the gateway's kernel need not ask for: nothing waits for an ARP.
fn warm(lab: &Lab) {
    for (to, count) in [(client_addr(1), 1), (client_addr(2), 1), (DMZ, 1), (WAN, 1)] {
        wait_until(&format!("{to} to be resolved"), PATIENCE, || {
            clients::ping(lab.gw(), to, count, &[]).unwrap() == 1
        });
    }
}

fn nothing_is_opened(before_natgw: &[(&str, &str)], extra: &[&str]) {
    let lab = Lab::start(Topology { clients: 3, unmanaged: true, ..Topology::default() }).unwrap();
    lab.node("dmz").ip(&format!("addr add {SITE}/32 dev eth0")).unwrap();
    lab.gw().ip(&format!("route add 172.31.0.0/16 via {DMZ}")).unwrap();
    for device in ["all", "in0", "out0", "dmz0"] {
        for (key, value) in before_natgw {
            if !(device == "all" && *key == "forwarding") {
                lab.gw().sysctl(&format!("net.ipv4.conf.{device}.{key}"), value).unwrap();
            }
        }
    }
    warm(&lab);
    let (targets, watch) = (Targets::start(&lab), Watch::start(&lab).unwrap());
    let before = reached(&lab, &targets, &watch, BEFORE);
    let mut options = Options::one_eip().arg("--ports").arg(&format!("{}-{}", PORTS.start(), PORTS.end()));
    for word in extra {
        options = options.arg(word);
    }
    let gateway = Gateway::start(&lab, &options).unwrap();
    warm(&lab);
    let after = reached(&lab, &targets, &watch, "after, ");
    let meant: Vec<String> = probes()
        .into_iter()
        .filter(|probe| is_meant_to_be_open(*probe, extra.contains(&"--exempt")))
        .map(|(who, src, dst)| format!("{who} as {src} to {dst} "))
        .collect();
    let opened = after.difference(&before).filter(|what| !meant.iter().any(|m| what.contains(m)));
    assert_none("opened by natgw", opened.map(String::as_str));
    let inside = |p: &Parsed, d| d == Direction::Received && is_inside(p.src);
    assert_none(
        "inside sources outside, with natgw",
        watch.outside.find(inside).iter().map(ToString::to_string),
    );
    drop(gateway);
    // Before natgw, the gateway answered as 10.0.0.1.
    lab.expect_leak();
}

const CLOSED: &[(&str, &str)] = &[("forwarding", "0"), ("rp_filter", "0"), ("accept_local", "0")];
const STRICT: &[(&str, &str)] = &[("forwarding", "0"), ("rp_filter", "1"), ("accept_local", "0")];
const ROUTER: &[(&str, &str)] = &[("forwarding", "1"), ("rp_filter", "1"), ("accept_local", "0")];
/// The site behind the unmanaged interface is not translated.
const EXEMPT: &[&str] = &["--exempt", "172.31.0.0/16"];

/// Invariant 2: a gateway opens nothing else of its host. The host as it is by default.
#[test]
fn nothing_that_was_shut_is_open_after() {
    nothing_is_opened(CLOSED, &[]);
}

/// The same where the pool serves nothing but the clients: the host's other networks are then no inside prefix.
#[test]
fn nothing_that_was_shut_is_open_after_with_one_source_prefix() {
    nothing_is_opened(CLOSED, &["--source", "10.0.0.0/24"]);
}

/// The same on a host with strict reverse path filtering.
#[test]
fn nothing_that_was_shut_is_open_after_where_rp_filter_was_strict() {
    nothing_is_opened(STRICT, &[]);
}

/// The same with an exempt site, whose sources E forges.
#[test]
fn nothing_that_was_shut_is_open_after_with_an_exempt_site() {
    nothing_is_opened(STRICT, EXEMPT);
}

/// The same on a host that was a router, where only the filter stood between E and the site's name.
#[test]
fn nothing_that_was_shut_is_open_after_on_a_router_with_an_exempt_site() {
    nothing_is_opened(ROUTER, EXEMPT);
}
