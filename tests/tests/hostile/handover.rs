//! Packets that natgw hands to the kernel, translated: what the kernel says about them, and who may tell it where they go.

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use nat_tests::lab::raw::{Raw, Watch};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{Direction, mac_of};
use nat_tests::lab::{
    GW_INSIDE, GW_OUTSIDE, Gateway, Lab, Options, SRV_A, SRV_B, Topology, WAN, client_addr, clients,
    wait_until, xdp_pass,
};
use nat_tests::packet::{ETH, Packet};
use nat_userspace::datapath::{maps, pins::Pins};

use super::{PATIENCE, at};

/// Invariant 1, payloads of ICMP errors included: a client leaves the wire, its server goes on sending what must be fragmented,
/// and the kernel, which cannot resolve the client any more, has an error to tell about a packet that natgw translated. The error
/// would quote the client's own address.
#[test]
fn the_kernels_errors_about_handed_over_packets_stay_here() {
    let lab = Lab::start(Topology { inside_mtu: 1400, ..Topology::default() }).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let seen = clients::ask_udp(lab.client(0), 5000, at(SRV_A, 53)).unwrap();
    let outside = lab.outside_tap().unwrap();
    lab.client(0).ip("link set eth0 down").unwrap();
    lab.gw().ip(&format!("neigh flush {}\nneigh del {} dev in0", client_addr(0), client_addr(0))).ok();
    let server = Raw::outside(&lab).unwrap();
    let errors = || lab.gw().counter("Icmp", "OutDestUnreachs").unwrap();
    let before = (errors(), gateway.drops("guard").unwrap());
    wait_until("the kernel to give the client up, and the guard to stop what it says", PATIENCE, || {
        server.send(Packet::udp(at(SRV_A, 53), seen).payload(vec![7; 1420]).with(|p| p.df = false)).unwrap();
        errors() > before.0 && gateway.drops("guard").unwrap() > before.1
    });
    let own = client_addr(0).octets();
    let sent = outside.frames().into_iter().filter(|f| f.direction == Direction::Received);
    let leaked: Vec<_> = sent.filter(|f| f.bytes.windows(4).any(|w| w == own)).collect();
    assert!(leaked.is_empty(), "an inside address outside: {:?}", leaked[0]);
}

/// An ICMP redirect that says: to `victim` by `by`, about an echo reply that the gateway never sent.
fn redirect(victim: Ipv4Addr, by: Ipv4Addr) -> Packet {
    let embedded = Packet::echo_reply(GW_OUTSIDE, victim, 7).payload(b"abcdefgh").build()[ETH..].to_vec();
    Packet::icmp(WAN, GW_OUTSIDE, 5, 1, by.octets()).payload(embedded)
}

/// Invariant 5: E tells the gateway that it knows a better way to a server. Handed-over packets would go to E. A router takes
/// no redirects (RFC 1812 section 5.2.7.2).
#[test]
fn a_forged_redirect_leads_nobody_astray() {
    let lab = Lab::two_armed(1).unwrap();
    let watch = Watch::start(&lab).unwrap();
    let e = Raw::outside(&lab).unwrap();
    let (victim, by) = (SRV_B, Ipv4Addr::new(192, 0, 2, 77));
    let way = || lab.gw().output("ip", &["route", "get", &victim.to_string()]).unwrap();
    lab.gw().sysctl("net.ipv4.conf.out0.forwarding", "1").unwrap();
    // E answers ARP for the way that it praises.
    lab.gw().ip(&format!("neigh add {by} lladdr 02:00:00:00:00:77 dev out0")).unwrap();
    // A control: the same frame, before natgw.
    wait_until("the kernel to believe the redirect", PATIENCE, || {
        e.send(redirect(victim, by)).unwrap();
        way().contains(&format!("via {by}"))
    });
    lab.gw().ip("route flush cache").unwrap();
    assert!(way().contains(&format!("via {WAN}")), "{}", way());
    let _gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    for _ in 0..20 {
        e.send(redirect(victim, by)).unwrap();
    }
    watch.settle();
    assert!(way().contains(&format!("via {WAN}")), "{}", way());
}

/// A client that may load XDP programs puts what natgw's own program would into the metadata of a packet for the gateway, and
/// metadata crosses a veth: the packet is to leave outside as it is.
fn planted(lab: &Lab, mark: [u32; 2]) -> OwnedFd {
    let client = lab.client(0);
    let out0 = lab.gw().run(|| nix::net::if_::if_nametoindex("out0")).unwrap();
    // A child that another test's thread starts holds the program of before for a moment, until it becomes another program.
    let mut plant = None;
    wait_until("the program to be attached", PATIENCE, || {
        plant = xdp_pass::attach_with_metadata(client, "c1", [mark[0], mark[1], out0, 0]).ok();
        plant.is_some()
    });
    plant.unwrap()
}

fn mark_of(gateway: &Gateway) -> [u32; 2] {
    maps::settings(&Pins::new(gateway.bpffs())).unwrap().get(&0, 0).unwrap().handover_mark()
}

/// Invariant 1: the mark cannot be guessed.
#[test]
fn planted_metadata_leads_nothing_outside() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    // The client's wire is a port of a bridge of its own, so that its frames come by an interface before they leave.
    lab.client(0)
        .ip("link add c0 type veth peer name c1\nlink add br0 type bridge\nlink set br0 up\n\
             link set c0 up\nlink set c1 up\nlink set c1 master br0\nlink set eth0 master br0")
        .unwrap();
    let gw = mac_of(lab.gw(), "in0").unwrap();
    let from = Raw::at(lab.client(0), "c0", mac_of(lab.client(0), "eth0").unwrap(), gw).unwrap();
    let to_gateway = || Packet::udp(at(client_addr(0), 9), at(GW_INSIDE, 9));
    let arrived = || lab.gw().counter("Udp", "NoPorts").unwrap();
    let [a, b] = mark_of(&gateway);
    for guess in [[0x6e61_7467, 0], [a, b ^ 1], [a ^ 1, b]] {
        let _plant = planted(&lab, guess);
        let before = arrived();
        wait_until("the gateway to get the packet", PATIENCE, || {
            from.send(to_gateway()).unwrap();
            arrived() > before
        });
    }
    assert_eq!(gateway.drops("guard").unwrap(), 0, "metadata with a wrong mark was believed");
    // A control: metadata does cross, and the mark is what it takes. The guard at the other side has the last word.
    let _plant = planted(&lab, [a, b]);
    wait_until("the control to be sent outside, and stopped there", PATIENCE, || {
        from.send(to_gateway()).unwrap();
        gateway.drops("guard").unwrap() > 0
    });
}
