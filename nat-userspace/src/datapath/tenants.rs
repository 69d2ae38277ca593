//! Programs on the tc hooks of an interface with which natgw cannot share it: they take packets for their own network policy, and
//! redirect them past natgw, or natgw past them.

use std::path::Path;

use aya::programs::tc::{SchedClassifier, TcAttachType};
use futures_util::TryStreamExt as _;
use rtnetlink::packet_route::tc::{TcAttribute, TcFilterBpfOption, TcOption};

use super::error::Error;
use super::pins::{self, Pins};
use super::programs::TWINS;
use super::sys;
use crate::host::facts::Link;

/// Whose programs have names that begin so.
const TENANTS: [(&str, &str); 3] = [("cil_", "Cilium"), ("cali_", "Calico"), ("calico_", "Calico")];

/// Refuses an interface that is somebody else's.
pub(super) async fn refuse(link: &Link, pins: &Pins) -> Result<(), Error> {
    let own = own_program(&pins.twin_link(&link.name))?;
    let mut found: Vec<(String, Option<u32>)> = Vec::new();
    for hook in [TcAttachType::Ingress, TcAttachType::Egress] {
        // Linux before 6.6 has no TCX.
        let Ok((_, programs)) = SchedClassifier::query_tcx(&link.name, hook) else { continue };
        found.extend(programs.iter().filter_map(|p| Some((p.name_as_str()?.to_owned(), Some(p.id())))));
    }
    found.extend(filters(link.index).await.into_iter().map(|name| (name, None)));
    for (name, id) in found {
        if let Some(tenant) = tenant(&name) {
            return Err(Error::Tenant { interface: link.name.clone(), program: name, tenant });
        }
        // Filters of natgw's own are known by their mark.
        let is_ours = id.map_or_else(|| pins.tc_twin_mark(&link.name).exists(), |id| Some(id) == own);
        if TWINS.contains(&name.as_str()) && !is_ours {
            return Err(Error::AnotherNatgw { interface: link.name.clone(), program: name });
        }
    }
    Ok(())
}

fn tenant(program: &str) -> Option<&'static str> {
    TENANTS.iter().find(|(prefix, _)| program.starts_with(prefix)).map(|(_, tenant)| *tenant)
}

/// The program in a link that is pinned.
fn own_program(pin: &Path) -> Result<Option<u32>, Error> {
    if pins::found(pin)? != Some(pins::LINK) {
        return Ok(None);
    }
    let link = sys::object_get(pin).map_err(Error::pin("open", pin))?;
    Ok(Some(sys::link_info(&link).map_err(Error::pin("inspect", pin))?.program()))
}

/// Names of the BPF programs that are classic filters on an interface. What the kernel does not tell is not known.
async fn filters(index: u32) -> Vec<String> {
    let (Ok((connection, handle, _)), Ok(index)) = (rtnetlink::new_connection(), i32::try_from(index)) else {
        return Vec::new();
    };
    let connection = tokio::spawn(connection);
    let mut names = Vec::new();
    for request in [handle.traffic_filter(index).get().ingress(), handle.traffic_filter(index).get().egress()]
    {
        let mut messages = std::pin::pin!(request.execute());
        // An error: there is no such qdisc.
        while let Ok(Some(message)) = messages.try_next().await {
            for attribute in message.attributes {
                let TcAttribute::Options(options) = attribute else { continue };
                names.extend(options.into_iter().filter_map(|option| match option {
                    TcOption::Bpf(TcFilterBpfOption::ProgName(name)) => Some(name),
                    _ => None,
                }));
            }
        }
    }
    connection.abort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_of_network_policies_are_known_by_their_names() {
        // Cilium: bpf/bpf_host.c, bpf_lxc.c; Calico: felix/bpf-gpl.
        for (program, whose) in [
            ("cil_from_netdev", Some("Cilium")),
            ("cil_from_contai", Some("Cilium")),
            ("cali_tc_preambl", Some("Calico")),
            ("calico_from_hos", Some("Calico")),
            ("guard_ingress", None),
            ("my_filter", None),
        ] {
            assert_eq!(tenant(program), whose, "{program}");
        }
    }
}
