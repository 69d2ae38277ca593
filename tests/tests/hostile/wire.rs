//! A client and a server that consist of packets: every segment is the test's own.

use std::net::Ipv4Addr;
use std::time::Duration;

use nat_tests::lab::raw::{Raw, Watch};
use nat_tests::lab::tap::{Direction, mac_of};
use nat_tests::lab::{Gateway, Lab, client_addr};
use nat_tests::packet::{Packet, Parsed, flags};
use serde_json::Value;

use super::{PATIENCE, at};

/// No host has this address: nobody but the test answers for it.
pub(crate) const GHOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 99);

/// Both ends of flows between the first client and [`GHOST`].
pub(crate) struct Wire {
    /// The client.
    pub(crate) client: Raw,
    /// The server, or who pretends to be it: on the outside wire.
    pub(crate) server: Raw,
    /// Both wires.
    pub(crate) watch: Watch,
}

impl Wire {
    pub(crate) fn open(lab: &Lab) -> Self {
        // The hosts' own kernels know nothing of these connections and would reset them.
        for host in [lab.client(0), lab.node("wan")] {
            host.ip(&format!("route add blackhole {GHOST}/32")).unwrap();
        }
        let mac = |node: &str, device| mac_of(lab.node(node), device).unwrap();
        Self {
            client: Raw::inside(lab).unwrap().as_mac(mac("cli-a", "eth0")),
            server: Raw::outside(lab).unwrap().as_mac(mac("wan", "gw0")),
            watch: Watch::start(lab).unwrap(),
        }
    }

    /// Sends from inside; the packet as it left, if it did.
    pub(crate) fn out(&self, packet: Packet, patience: Duration) -> Option<Parsed> {
        self.watch.outside.clear();
        let (id, dst) = (packet.id, packet.dst);
        self.client.send(packet).unwrap();
        let left = |p: &Parsed, d| d == Direction::Received && p.dst == dst && p.id == id;
        self.watch.outside.wait_for(patience, left)
    }

    /// Sends from outside; the packet as it reached the inside, if it did.
    pub(crate) fn back(&self, packet: Packet, patience: Duration) -> Option<Parsed> {
        self.watch.inside.clear();
        let (id, src) = (packet.id, packet.src);
        self.server.send(packet).unwrap();
        let came = |p: &Parsed, d| d == Direction::Received && p.src == src && p.id == id && p.icmp.is_none();
        self.watch.inside.wait_for(patience, came)
    }

    /// SYN, SYN-ACK, ACK; the outside end.
    pub(crate) fn handshake(&self, port: u16) -> std::net::SocketAddrV4 {
        let (a, b) = (at(client_addr(0), port), at(GHOST, 80));
        let bare = |src, dst, kind| Packet::tcp(src, dst, kind).payload(Vec::new());
        let end = self.out(bare(a, b, flags::SYN), PATIENCE).expect("SYN").source();
        self.back(bare(b, end, flags::SYN | flags::ACK), PATIENCE).expect("SYN-ACK");
        self.out(bare(a, b, flags::ACK), PATIENCE).expect("ACK");
        end
    }

    /// A UDP flow that has been answered; the outside end.
    pub(crate) fn udp(&self, port: u16) -> std::net::SocketAddrV4 {
        let (a, b) = (at(client_addr(0), port), at(GHOST, 53));
        let end = self.out(Packet::udp(a, b), PATIENCE).expect("a question").source();
        self.back(Packet::udp(b, end), PATIENCE).expect("an answer");
        end
    }
}

/// The one flow of the first client's `port`, if there is one.
pub(crate) fn flow(gateway: &Gateway<'_>, port: u16) -> Option<Value> {
    let flows = gateway.flows(&["--sport", &port.to_string()]).unwrap();
    assert!(flows.len() <= 1, "{flows:#?}");
    flows.into_iter().next()
}

/// State and seconds to live of that flow.
pub(crate) fn state(gateway: &Gateway<'_>, port: u16) -> (String, f64) {
    let flow = flow(gateway, port).expect("the flow is there");
    (flow["state"].as_str().unwrap().to_owned(), flow["expires_in_s"].as_f64().unwrap())
}
