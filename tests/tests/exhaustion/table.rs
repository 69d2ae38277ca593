//! The flow table runs full.

use std::net::SocketAddrV4;
use std::time::Duration;

use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, wait_until};

use super::{answered, count, inspect, sockets};

const PATIENCE: Duration = Duration::from_secs(3);
const FLOWS: usize = 200;

#[test]
fn a_full_table_refuses_new_flows_and_keeps_the_old_ones() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip().arg("--max-flows").arg("200")).unwrap();
    let _server = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let address = SocketAddrV4::new(SRV_A, 53);
    let maps = inspect(&gateway);
    let capacity = maps.capacity();
    assert_eq!(capacity as usize, FLOWS);

    let sockets = sockets(lab.client(0), FLOWS + 50);
    let first = answered(&sockets, address, Duration::from_secs(1));
    let stats = maps.stats().unwrap();
    let births = stats.births[1];
    println!("{births} flows in a table for {FLOWS}; {} answered", count(&first));
    // Two CPUs that ask for the last two entries at once may turn each other down.
    assert!(births as usize <= FLOWS && births as usize >= FLOWS - 2, "{births}");
    assert_eq!(count(&first) as u64, births, "who was born was answered");

    let json = gateway.stats().unwrap();
    assert!(json["drops"]["table_full"].as_u64() >= Some(50), "{json:#}");
    assert_eq!(json["drops"]["port_exhausted"].as_u64(), Some(0), "{json:#}");
    assert_eq!(json["flows"]["capacity"].as_u64(), Some(FLOWS as u64), "{json:#}");
    assert_eq!(json["flows"]["udp"].as_u64(), Some(births), "{json:#}");
    let attempts = json["connections"]["attempts"].as_u64().unwrap();
    let full = json["drops"]["table_full"].as_u64().unwrap();
    assert_eq!(attempts, births + full, "an attempt is born or refused: {json:#}");
    let page = gateway.say(&["stats"]).unwrap();
    assert!(page.contains("table_full") && page.contains("raise max_flows"), "{page}");
    wait_until("a word in the log", PATIENCE, || gateway.log().contains("the flow table is full"));

    let alive: Vec<_> =
        sockets.into_iter().zip(&first).filter(|(_, was)| **was).map(|(socket, _)| socket).collect();
    assert_eq!(count(&answered(&alive, address, PATIENCE)), alive.len(), "existing flows");
    assert_eq!(maps.entries_are_pairs(), Ok(()));
}

/// A look at the whole table.
trait Pairs {
    fn entries_are_pairs(&self) -> Result<(), String>;
}

impl Pairs for nat_userspace::datapath::inspect::Inspect {
    fn entries_are_pairs(&self) -> Result<(), String> {
        let mut all = std::collections::HashMap::new();
        for window in self.table().windows() {
            all.extend(window.map_err(|e| e.to_string())?.entries().map(|entry| (entry.tuple(), entry)));
        }
        match all.iter().find(|(key, entry)| !all.contains_key(&entry.pair_key(key))) {
            Some(orphan) => Err(format!("half a flow: {orphan:?}")),
            None => Ok(()),
        }
    }
}
