//! Duplicate address detection before EIPs are taken.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    net::Ipv4Addr,
};

use tokio::task::{JoinHandle, spawn_blocking};

use super::conflict::Conflict;
use super::error::Error;
use super::{
    addresses::{dump, place},
    links,
    netlink::Netlink,
    probe::{self, Question},
};
use crate::model::path::Framing;

/// A probe for duplicates that goes on in a thread of its own.
pub struct Probe {
    task: JoinHandle<io::Result<BTreeMap<Ipv4Addr, [u8; 6]>>>,
    /// Where each EIP is asked for.
    interfaces: HashMap<Ipv4Addr, String>,
}

impl Probe {
    /// Begins to ask for those of `eips` that [`super::addresses::add_eips`] would add and that are not natgw's yet.
    pub async fn begin(eips: &[(Ipv4Addr, Option<&str>)], outside: &[&str]) -> Result<Self, Error> {
        let netlink = Netlink::open()?;
        let (links, found) = (links::dump(&netlink).await?, dump(&netlink).await?);
        let mut wanted = place(eips, outside, &links, &found)?;
        wanted.retain(|w| !w.is_ours && w.link.device.framing == Framing::Ethernet && w.link.up);
        let interfaces = wanted.iter().map(|w| (w.addr, w.link.name.clone())).collect();
        let questions: Vec<Question> = wanted
            .iter()
            .map(|w| Question { addr: w.addr, ifindex: w.link.index, mac: w.link.mac })
            .collect();
        let task =
            spawn_blocking(
                move || {
                    if questions.is_empty() { Ok(BTreeMap::new()) } else { probe::probe(&questions) }
                },
            );
        Ok(Self { task, interfaces })
    }

    /// Waits until it is over: an error when another host has an EIP.
    pub async fn end(self) -> Result<(), Error> {
        let taken = match self.task.await.map_err(io::Error::other).flatten() {
            Ok(taken) => taken,
            Err(error) => {
                tracing::warn!(%error, "cannot ask by ARP whether another host has an EIP: they are taken unasked");
                return Ok(());
            }
        };
        let conflicts: Vec<Conflict> = taken
            .into_iter()
            .map(|(addr, mac)| {
                let interface = self.interfaces.get(&addr).cloned().unwrap_or_default();
                Conflict { addr, interface, mac }
            })
            .collect();
        if conflicts.is_empty() { Ok(()) } else { Err(Error::Duplicates { conflicts }) }
    }
}
