//! EIPs that the host should have, and does not.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use nat_common::{Addr, Eip};

use crate::host::state::RunState;
use crate::model::fault::{Code, Fault};

/// An EIP that the host should have, and does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MissingEip {
    /// The host's own address, when natgw was configured.
    Shared(Ipv4Addr),
    /// The address of an interface, which had this one.
    Followed(String, Option<Ipv4Addr>),
    /// natgw added it to the interface.
    Added(Ipv4Addr, String),
}

/// What is missing of `eips` and of what the daemon recorded, on a host that has the addresses `present`.
pub(super) fn missing(
    eips: &[(Addr, Eip)],
    state: Option<&RunState>,
    present: &HashSet<(String, Ipv4Addr)>,
) -> Vec<MissingEip> {
    let all: HashSet<Ipv4Addr> = present.iter().map(|(_, addr)| *addr).collect();
    let followed = state.map(|s| s.followed.as_slice()).unwrap_or_default();
    let added = state.map(|s| s.addresses.as_slice()).unwrap_or_default();
    let is_gone = |addr: &Ipv4Addr| !all.contains(addr);
    let mut missing: Vec<MissingEip> = followed
        .iter()
        .filter(|f| f.addr.as_ref().is_none_or(is_gone))
        .map(|f| MissingEip::Followed(f.interface.clone(), f.addr))
        .collect();
    let shared = eips.iter().filter(|(_, eip)| eip.shared != 0).map(|(addr, _)| Ipv4Addr::from(*addr));
    let is_followed = |addr: &Ipv4Addr| followed.iter().any(|f| f.addr == Some(*addr));
    missing.extend(shared.filter(|a| is_gone(a) && !is_followed(a)).map(MissingEip::Shared));
    let lost = added.iter().filter(|a| is_gone(&a.addr));
    missing.extend(lost.map(|a| MissingEip::Added(a.addr, a.interface.clone())));
    missing
}

/// One fault for all of them: they are up to thousands.
pub(super) fn missing_fault(missing: &[MissingEip]) -> Option<Fault> {
    let (text, what_to_do) = match missing.first()? {
        MissingEip::Shared(addr) => (
            format!("the host does not have the shared EIP {addr} any more: no answer comes back to it"),
            "add the address again (`ip addr add`), or take the EIP out of its pool",
        ),
        MissingEip::Followed(interface, had) => (
            match had {
                Some(had) => format!(
                    "{interface} has no IPv4 address, whose EIP it was ({had}): no answer comes back to it"
                ),
                None => {
                    format!("{interface} has no IPv4 address, which is to be an EIP: its pool serves nobody")
                }
            },
            "see why it has none (`ip addr show`; DHCP, PPP); natgw follows as soon as there is one",
        ),
        MissingEip::Added(addr, interface) => (
            format!("the EIP {addr}, which natgw added to {interface}, is gone from there"),
            "a running daemon puts it back at once unless the interface is gone, else restart natgw",
        ),
    };
    let more = match missing.len() - 1 {
        0 => String::new(),
        n => format!(" (and {n} more)"),
    };
    Some(Fault::new(Code::EipMissing, text + &more, what_to_do))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::state::{AddedAddress, FollowedEip};

    #[test]
    fn what_the_host_lacks_is_missing_and_nothing_else() {
        let addr = |n: u8| Ipv4Addr::new(192, 0, 2, n);
        let eip = |n, shared| (Addr::from(addr(n)), Eip { shared, ..Eip::default() });
        let mut state = RunState::here().unwrap();
        state.followed = vec![
            FollowedEip { interface: "ppp0".into(), addr: None },
            FollowedEip { interface: "eth0".into(), addr: Some(addr(2)) },
        ];
        state.addresses = vec![AddedAddress { addr: addr(3), interface: "eth0".into(), ifindex: 2 }];
        let eips = [eip(1, 1), eip(2, 1), eip(3, 0), eip(4, 0)];
        let on = |addrs: &[u8]| addrs.iter().map(|n| ("eth0".to_owned(), addr(*n))).collect();
        let at = |addrs: &[u8]| missing(&eips, Some(&state), &on(addrs));
        assert_eq!(at(&[1, 2, 3]), [MissingEip::Followed("ppp0".into(), None)]);
        assert_eq!(
            at(&[]),
            [
                MissingEip::Followed("ppp0".into(), None),
                MissingEip::Followed("eth0".into(), Some(addr(2))),
                MissingEip::Shared(addr(1)),
                MissingEip::Added(addr(3), "eth0".into()),
            ]
        );
        let fault = missing_fault(&at(&[])).unwrap();
        assert_eq!(fault.code, Code::EipMissing);
        assert!(fault.text.contains("ppp0 has no IPv4 address") && fault.text.contains("3 more"), "{fault}");
        assert_eq!(missing_fault(&[]), None);
    }
}
