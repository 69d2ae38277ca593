//! What is wrong with the host around a gateway: links, routes, firewall.

use super::seen::Seen;
use crate::host::condition::Condition;
use crate::model::fault::{Code, Fault};
use crate::model::interface::{InterfaceSide, XdpMode};
use crate::model::status::{InterfaceStatus, Status};

pub(super) fn faults(status: &Status, seen: &Seen<'_>, faults: &mut Vec<Fault>) {
    for interface in status.interfaces.iter().filter(|i| i.attached) {
        if interface.recorded.xdp_mode == XdpMode::Generic {
            faults.push(Fault::new(
                Code::GenericXdp,
                format!(
                    "interface {} runs generic XDP: slow, and it pairs with no native XDP",
                    interface.recorded.name
                ),
                "set xdp = \"auto\", which takes tc where the driver has no native XDP",
            ));
        }
    }
    if let Some(damage) = &seen.damage {
        faults.push(Fault::new(Code::TablesDamaged, damage.clone(), "restart natgw, which writes them anew"));
    }
    let Some(host) = seen.host else { return };
    links(status, host, faults);
    routes(status, host, faults);
    if let Some(chain) = &host.forward_drop {
        faults.push(Fault::new(
            Code::ForwardDrop,
            format!("the firewall chain `{chain}` drops what the kernel forwards"),
            "only what natgw leaves to the kernel meets it (fragments to be made, tunnels, exempt destinations): accept that there, \
             or leave it so",
        ));
    }
}

fn links(status: &Status, host: &Condition, faults: &mut Vec<Fault>) {
    let is_down = |i: &InterfaceStatus| i.present && !host.running.contains(&i.recorded.ifindex);
    for side in [InterfaceSide::Inside, InterfaceSide::Outside] {
        let mut of_side = status
            .interfaces
            .iter()
            .filter(|i| i.recorded.side == side || i.recorded.side == InterfaceSide::Both)
            .peekable();
        if of_side.peek().is_some() && of_side.all(|i| is_down(i) || !i.present) {
            let text = format!("every {} interface is down: nothing passes", side.name());
            faults.push(Fault::new(Code::SideDown, text, "see `ip link`, cable and switch"));
        }
    }
    for interface in status.interfaces.iter().filter(|i| is_down(i)) {
        let name = &interface.recorded.name;
        faults.push(Fault::new(
            Code::LinkDown,
            format!("interface {name} is down or has no carrier"),
            format!("`ip link set {name} up`, or see to cable, switch or peer"),
        ));
    }
}

fn routes(status: &Status, host: &Condition, faults: &mut Vec<Fault>) {
    let of_outside = |index: u32| {
        status
            .interfaces
            .iter()
            .any(|i| i.recorded.ifindex == index && i.recorded.side != InterfaceSide::Inside)
    };
    if host.ways.is_empty() {
        return;
    }
    let ways: Vec<u32> = host.ways.iter().filter_map(|(_, way)| *way).collect();
    if ways.is_empty() {
        // Routes to single networks may be all that is wanted.
        if !host.routed.iter().any(|index| of_outside(*index)) {
            faults.push(Fault::new(
                Code::NoRoute,
                "the host has no default route: packets to the internet go nowhere",
                "`ip route add default via GATEWAY`; with policy routing, for packets from the EIPs",
            ));
        }
        return;
    }
    let astray =
        host.ways.iter().find_map(|(eip, way)| Some((eip, (*way)?)).filter(|(_, way)| !of_outside(*way)));
    if let Some((eip, way)) = astray {
        let name = nix::net::if_::if_indextoname(way)
            .map_or_else(|_| way.to_string(), |n| n.to_string_lossy().into_owned());
        faults.push(Fault::new(
            Code::RouteUnmanaged,
            format!("packets from {eip} to the internet leave by {name}, which is no outside interface of natgw's: answers that come back there are not translated"),
            format!("add {name} to outside, or route the EIP by an outside interface (`ip rule add from {eip} lookup TABLE`)"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytemuck::Zeroable as _;
    use nat_common::stats::Stats;

    use super::super::tests::{said, seen};
    use super::*;

    const EIP: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    fn with(host: Condition) -> String {
        let stats = Stats::zeroed();
        said(&Status::healthy(), &Seen { host: Some(&host), ..seen(&stats, &stats) })
    }

    fn well() -> Condition {
        Condition { running: vec![2], ways: vec![(EIP, Some(2))], ..Condition::default() }
    }

    #[test]
    fn a_host_that_is_well_has_no_fault() {
        assert_eq!(with(well()), "");
        // Routes to single networks only.
        assert_eq!(with(Condition { ways: vec![(EIP, None)], routed: vec![2], ..well() }), "");
    }

    #[test]
    fn links_and_routes_that_are_missing_are_told() {
        let down = with(Condition { running: vec![], ..well() });
        assert!(
            down.contains("every outside interface is down") && down.contains("ip link set eth0 up"),
            "{down}"
        );
        let no_route = with(Condition { ways: vec![(EIP, None)], ..well() });
        assert!(no_route.contains("no default route"), "{no_route}");
        let astray = with(Condition { ways: vec![(EIP, Some(1))], ..well() });
        assert!(
            astray.contains("leave by lo") && astray.contains("ip rule add from 203.0.113.10"),
            "{astray}"
        );
        let firewall = with(Condition { forward_drop: Some("filter FORWARD".to_owned()), ..well() });
        assert!(firewall.contains("`filter FORWARD`"), "{firewall}");
    }

    #[test]
    fn generic_xdp_and_damaged_tables_are_told() {
        let stats = Stats::zeroed();
        let mut status = Status::healthy();
        status.interfaces[0].recorded.xdp_mode = XdpMode::Generic;
        let text = said(&status, &Seen { damage: Some("no pool".to_owned()), ..seen(&stats, &stats) });
        assert!(text.contains("eth0 runs generic XDP") && text.contains("no pool; restart natgw"), "{text}");
    }
}
