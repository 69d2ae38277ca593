//! Ports towards one destination run out.

use std::net::{SocketAddrV4, UdpSocket};
use std::time::Duration;

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, SRV_B, eip, wait_until};

use super::{answered, count, inspect, sockets};

const PATIENCE: Duration = Duration::from_secs(3);

fn ask(sockets: &[UdpSocket], server: SocketAddrV4) {
    for socket in sockets {
        socket.send_to(b"?", server).unwrap();
    }
}

#[test]
fn c13_every_port_is_used_before_a_flow_is_refused() {
    for (range, ports) in [("20000-20063", 64), ("20000-21999", 2000)] {
        let lab = Lab::two_armed(2).unwrap();
        let gateway = Gateway::start(&lab, &Options::one_eip().arg("--ports").arg(range)).unwrap();
        let _a = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
        let _b = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
        let (server, other) = (SocketAddrV4::new(SRV_A, 53), SocketAddrV4::new(SRV_B, 53));
        let maps = inspect(&gateway);
        let births = || maps.stats().unwrap().births[1];

        // Two hosts take turns until the first refusal.
        let mut held = Vec::new();
        while maps.stats().unwrap().port_allocation_errors == 0 {
            assert!(held.len() <= ports, "{} flows on {ports} ports", held.len());
            let socket = sockets(lab.client(held.len() % 2), 1).remove(0);
            socket.send_to(b"?", server).unwrap();
            let before = held.len() as u64;
            wait_until("a birth or a refusal", PATIENCE, || {
                births() > before || maps.stats().unwrap().port_allocation_errors > 0
            });
            held.push(socket);
        }
        let used = births();
        println!("{used} of {ports} ports used at the first refusal");
        assert!(used * 100 >= ports as u64 * 99, "refused with {used} of {ports} ports used");

        // Those that insist get what is left, to the last port: the walk goes on where it stopped.
        let mut late = sockets(lab.client(0), ports - usize::try_from(used).unwrap());
        wait_until("the last port", PATIENCE, || {
            ask(&late, server);
            births() == ports as u64
        });
        late.clear();

        let refused = sockets(lab.client(1), 20);
        let errors = || maps.stats().unwrap().port_allocation_errors;
        let before = errors();
        ask(&refused, server);
        wait_until("twenty refusals", PATIENCE, || errors() >= before + 20);
        assert_eq!(count(&answered(&refused, server, Duration::from_millis(200))), 0);
        let total = errors();
        assert_eq!(gateway.drops("port_exhausted").unwrap(), total);
        let stats = gateway.stats().unwrap();
        assert_eq!(stats["port_allocation_errors"].as_u64(), Some(total), "{stats:#}");
        let list: serde_json::Value =
            serde_json::from_str(&gateway.say(&["eip", "list", "--json"]).unwrap()).unwrap();
        let of_eip = &list["eips"][0];
        assert_eq!(of_eip["port_allocation_errors"]["udp"].as_u64(), Some(total), "{list:#}");
        assert_eq!(of_eip["ports_in_use"]["udp"].as_u64(), Some(ports as u64), "{list:#}");
        wait_until("a word in the log", PATIENCE, || gateway.log().contains("no free port"));
        let warnings = gateway.log().matches("no free port").count();
        assert!(warnings <= 3, "rate-limited, yet {warnings} warnings");

        // The flows that are there, and other destinations, notice nothing.
        held.pop();
        let again = answered(&held, server, PATIENCE);
        assert_eq!(count(&again), held.len(), "existing flows");
        let elsewhere = sockets(lab.client(0), 20);
        assert_eq!(count(&answered(&elsewhere, other, PATIENCE)), 20, "another destination");
        assert_eq!(errors(), total, "none of them was refused");
    }
}

#[test]
fn the_next_eip_of_the_pool_helps_out() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::eips(2).arg("--ports").arg("20000-20063")).unwrap();
    let server = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let address = SocketAddrV4::new(SRV_A, 53);
    let sockets = sockets(lab.client(0), 100);
    assert_eq!(count(&answered(&sockets, address, PATIENCE)), 100);
    let seen = server.seen();
    let by_eip: Vec<usize> = (0..2).map(|n| seen.iter().filter(|s| *s.ip() == eip(n)).count()).collect();
    assert_eq!(by_eip.iter().sum::<usize>(), 100, "{by_eip:?}");
    assert_eq!(by_eip.iter().max(), Some(&64), "the host's own EIP is used up first: {by_eip:?}");
    assert_eq!(gateway.stats().unwrap()["port_allocation_errors"].as_u64(), Some(0));
    // A flow keeps the EIP that it was born on.
    assert_eq!(count(&answered(&sockets, address, PATIENCE)), 100);
    let sources: std::collections::HashSet<_> = server.seen().into_iter().collect();
    assert_eq!(sources.len(), 100, "no flow changed its outside end");
}
