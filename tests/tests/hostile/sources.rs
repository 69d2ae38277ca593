//! Sources that M may not use: EIPs, the gateway's own addresses, and what no pool serves.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use nat_tests::lab::raw::{M_MAC, Raw, Recorder, Watch, label, labels};
use nat_tests::lab::servers::any;
use nat_tests::lab::tap::Direction;
use nat_tests::lab::{
    Arms, EVIL, GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, SRV_B, Topology, client_addr, clients,
    eip,
};
use nat_tests::packet::{Packet, flags};

use super::{SERVICE, assert_none, at, without_xdp};

/// Somewhere that is not translated: a site that is routed to, by the outside link.
const EXEMPT: &str = "203.0.113.0/26";
const PRIORITY: (u16, u16) = (0x8100, 0);

/// Everything with an EIP as source that a hostile inside host could put on the wire.
fn forged(src: Ipv4Addr) -> Vec<(Packet, &'static [(u16, u16)])> {
    let mut all = Vec::new();
    // Plain, exempt, and three that are never translated.
    let places = [SRV_A, SRV_B, [169, 254, 7, 7].into(), [240, 0, 0, 1].into(), [224, 0, 0, 251].into()];
    for dst in places {
        for (depth, tags) in
            [("no tag", &[][..]), ("a tag", &[PRIORITY][..]), ("five tags", &[PRIORITY; 5][..])]
        {
            let say = |what: &str| label(&format!("{what} from {src} to {dst}, {depth}"));
            let (a, b) = (at(src, 4000), at(dst, 53));
            for packet in [
                Packet::udp(a, b).payload(say("udp")),
                Packet::tcp(a, b, flags::ACK).payload(say("tcp")),
                Packet::echo_request(src, dst, 9).payload(say("ping")),
                Packet::raw(src, dst, 47).payload(say("gre")),
                Packet::raw(src, dst, 50).payload(say("esp")),
                Packet::udp(a, b).payload(say("fragment")).with(|p| (p.df, p.mf) = (false, true)),
            ] {
                all.push((packet, tags));
            }
        }
    }
    all
}

fn neighbours_that_answer(lab: &Lab) {
    // Frames that the kernel would forward must not wait for an ARP that nobody answers.
    let mac = nat_tests::lab::tap::mac_of(lab.node("wan"), "gw0").unwrap();
    let mac = nat_tests::lab::mac_text(mac);
    let device = lab.topology().outside()[0];
    lab.gw().ip(&format!("neigh replace {} lladdr {mac} dev {device}", nat_tests::lab::WAN)).unwrap();
}

fn eips_do_not_leave(topology: Topology, options: &Options, xdp_gone_from: Option<&str>) {
    let lab = Lab::start(topology).unwrap();
    neighbours_that_answer(&lab);
    let mut options = options.clone().arg("--exempt").arg(EXEMPT);
    options.eips = vec![eip(0).to_string(), GW_OUTSIDE.to_string()];
    let _gateway = match xdp_gone_from {
        None => Gateway::start(&lab, &options).unwrap(),
        Some(device) => without_xdp(&lab, &options, Some(device)),
    };
    let (watch, m) = (Watch::start(&lab).unwrap(), Raw::inside(&lab).unwrap());
    for src in [eip(0), GW_OUTSIDE] {
        for (packet, tags) in forged(src) {
            m.send_tagged(packet, tags).unwrap();
        }
    }
    watch.settle();
    let sent = |p: &nat_tests::packet::Parsed, d| d == Direction::Received && p.smac != M_MAC;
    let out = watch.outside.find(|p, d| sent(p, d) && nat_tests::lab::raw::label_in(&p.payload).is_some());
    assert_none("forged packets that left", out.iter().map(ToString::to_string));
    assert_none("forged packets that left", labels(&watch.outside));
}

/// Invariant 1: with an EIP as source leaves what a flow gave it, and nothing else.
#[test]
fn no_forged_eip_leaves() {
    eips_do_not_leave(Topology::default(), &Options::default(), None);
}

/// The same where the kernel runs the program.
#[test]
fn no_forged_eip_leaves_with_generic_xdp() {
    eips_do_not_leave(Topology::default(), &Options::default().arg("--xdp").arg("generic"), None);
}

/// The same on one wire. What M sends to the router itself, natgw cannot see; this is what it sends to the gateway.
#[test]
fn no_forged_eip_leaves_one_armed() {
    eips_do_not_leave(Topology::one_armed(1), &Options::default(), None);
}

/// The same by the guards alone.
#[test]
fn no_forged_eip_leaves_when_xdp_is_gone_inside() {
    eips_do_not_leave(Topology::default(), &Options::default(), Some("in0"));
}

/// A control beside them: the host's own packets leave with its own address, and a client's to an exempt place
/// leave as they are.
#[test]
fn the_hosts_own_address_is_still_the_hosts() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options { eips: vec![eip(0).to_string(), GW_OUTSIDE.to_string()], ..Options::default() };
    let _gateway = Gateway::start(&lab, &options).unwrap();
    assert_eq!(clients::ping(lab.gw(), SRV_A, 2, &[]).unwrap(), 2);
    assert_eq!(clients::ping(lab.client(0), SRV_A, 2, &[]).unwrap(), 2);
    let _server = nat_tests::lab::servers::Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    assert_eq!(*clients::ask_udp(lab.gw(), 0, at(SRV_B, 53)).unwrap().ip(), GW_OUTSIDE);
}

/// Invariant 2: nobody speaks to the gateway's services as the gateway itself, nor under an address that no pool
/// serves and that does not live on this wire. `accept_local`, which natgw sets, let the first in.
fn services_are_deaf_to_forged_sources(topology: Topology, eips: &[Ipv4Addr]) {
    let lab = Lab::start(topology).unwrap();
    let options = Options { eips: eips.iter().map(ToString::to_string).collect(), ..Options::default() };
    let gateway = Gateway::start(&lab, &options).unwrap();
    let service = Recorder::start(lab.gw(), any(SERVICE)).unwrap();
    let _listener = nat_tests::lab::servers::Server::tcp_hold(lab.gw(), any(SERVICE)).unwrap();
    let (watch, m) = (Watch::start(&lab).unwrap(), Raw::inside(&lab).unwrap());
    let listens = |name: &str| lab.gw().counter("TcpExt", name).unwrap();
    let answered = || lab.gw().counter("Tcp", "OutSegs").unwrap() + listens("SyncookiesSent");
    let before = (super::drops(&gateway.stats().unwrap()), answered());
    let mut sent = 0;
    let mut sources = vec![GW_INSIDE, GW_OUTSIDE, eip(0), [127, 0, 0, 1].into()];
    if lab.topology().arms == Arms::Two {
        // On one wire these are genuine.
        sources.extend([EVIL, [198, 51, 100, 77].into()]);
    }
    for src in sources {
        for dst in [GW_INSIDE, GW_OUTSIDE] {
            let say = |what: &str| label(&format!("{what} as {src} to {dst}"));
            m.send(Packet::udp(at(src, 4000), at(dst, SERVICE)).payload(say("udp"))).unwrap();
            m.send_tagged(Packet::udp(at(src, 4001), at(dst, SERVICE)).payload(say("tagged")), &[PRIORITY])
                .unwrap();
            m.send(Packet::tcp(at(src, 4002), at(dst, SERVICE), flags::SYN).payload(say("syn"))).unwrap();
            sent += 3;
        }
    }
    watch.settle();
    assert_none("forged packets that a service received", service.labels());
    let after = (super::drops(&gateway.stats().unwrap()), answered());
    assert_eq!(after.1, before.1, "the host's TCP answered");
    assert_eq!(after.0 - before.0, sent, "each is counted as dropped: {:#}", gateway.stats().unwrap());
    // A genuine one is heard.
    let genuine = Packet::udp(at(client_addr(0), 4000), at(GW_INSIDE, SERVICE)).payload(label("genuine"));
    m.send(genuine).unwrap();
    watch.settle();
    assert_eq!(service.labels(), BTreeSet::from(["genuine".to_owned()]));
}

#[test]
fn the_gateways_services_are_deaf_to_forged_sources() {
    services_are_deaf_to_forged_sources(Topology::default(), &[eip(0)]);
}

#[test]
fn the_gateways_services_are_deaf_to_forged_sources_with_a_shared_eip() {
    services_are_deaf_to_forged_sources(Topology::default(), &[eip(0), GW_OUTSIDE]);
}

#[test]
fn the_gateways_services_are_deaf_to_forged_sources_one_armed() {
    services_are_deaf_to_forged_sources(Topology::one_armed(1), &[eip(0)]);
}
