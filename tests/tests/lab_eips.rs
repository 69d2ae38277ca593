//! EIPs that change, vanish, belong to another host or are many, and what other tools undo on the gateway.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use nat_tests::lab::gateway::run_to_end;
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::tap::{mac_of, mac_text};
use nat_tests::lab::{GW_OUTSIDE, Gateway, Lab, Options, SRV_A, WAN, clients, eip, wait_until};
use nix::sys::signal::Signal;
use serde_json::Value;

/// What is promised within a second; the rest is for a busy machine.
const SOON: Duration = Duration::from_secs(3);

/// The collector ends the flows of an EIP that is gone at its next pass, 20 s later at most.
const PATIENCE: Duration = Duration::from_secs(30);

/// The address that the gateway gets from its provider later.
const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

fn echo_address() -> SocketAddrV4 {
    SocketAddrV4::new(SRV_A, 7)
}

fn following() -> Options {
    Options { eips: vec!["out0".to_owned()], ..Options::default() }.arg("--source").arg("10.0.0.0/24")
}

/// As a DHCP client does it: the address, and the default route that comes with it.
fn gets(lab: &Lab, addr: Ipv4Addr) {
    lab.gw().ip(&format!("addr add {addr}/24 dev out0\nroute add default via {WAN}")).unwrap();
}

fn loses(lab: &Lab, addr: Ipv4Addr) {
    lab.gw().ip(&format!("addr del {addr}/24 dev out0")).unwrap();
}

fn connects_as(lab: &Lab) -> Option<Ipv4Addr> {
    clients::connect_tcp(lab.client(0), 0, echo_address()).ok().map(|(_, seen)| *seen.ip())
}

fn has_address(lab: &Lab, addr: Ipv4Addr) -> bool {
    lab.gw().output("ip", &["-o", "-4", "addr", "show"]).unwrap().contains(&format!(" {addr}/"))
}

/// Codes of the faults that `natgw status` shows.
fn faults(gateway: &Gateway<'_>) -> Vec<String> {
    let status: Value = serde_json::from_str(&gateway.say(&["status", "--json"]).unwrap()).unwrap();
    let faults = status["faults"].as_array().unwrap();
    faults.iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

fn has_fault(gateway: &Gateway<'_>, code: &str) -> bool {
    faults(gateway).iter().any(|c| c == code)
}

fn says(gateway: &Gateway<'_>, what: &str) -> bool {
    gateway.log().contains(what)
}

#[test]
fn the_address_of_an_interface_is_followed() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let gateway = Gateway::start(&lab, &following()).unwrap();
    let (mut stream, seen) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    assert_eq!(*seen.ip(), GW_OUTSIDE);

    // A lease that runs out, and is given again: nothing has changed for the flows.
    loses(&lab, GW_OUTSIDE);
    wait_until("the fault", SOON, || has_fault(&gateway, "eip_missing"));
    gets(&lab, GW_OUTSIDE);
    wait_until("the fault to end", SOON, || !has_fault(&gateway, "eip_missing"));
    clients::echo(&mut stream, b"the flow goes on").unwrap();

    // And another one.
    loses(&lab, GW_OUTSIDE);
    gets(&lab, OTHER);
    wait_until("new flows to leave by the new address", SOON, || connects_as(&lab) == Some(OTHER));
    assert!(!has_fault(&gateway, "eip_missing"));
    let list: Value = serde_json::from_str(&gateway.say(&["eip", "list", "--json"]).unwrap()).unwrap();
    let eips = list["eips"].as_array().unwrap();
    assert_eq!(eips.len(), 1, "{list}");
    assert_eq!((&eips[0]["eip"], &eips[0]["interface"]), (&OTHER.to_string().into(), &"out0".into()));
    assert_eq!(eips[0]["shared"], true);
    wait_until("natgw to say so", SOON, || says(&gateway, "out0 has 192.0.2.50 now"));
    wait_until("the flow of the old address to end", PATIENCE, || {
        gateway.flows(&["--eip", &GW_OUTSIDE.to_string()]).unwrap().is_empty()
    });
}

#[test]
fn an_interface_without_an_address_is_waited_for() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    loses(&lab, GW_OUTSIDE);
    let gateway = Gateway::start(&lab, &following()).unwrap();
    assert!(!says(&gateway, "packets are being translated"), "{}", gateway.log());
    assert!(says(&gateway, "out0 has no IPv4 address"), "{}", gateway.log());
    assert!(has_fault(&gateway, "eip_missing"));
    gets(&lab, OTHER);
    wait_until("flows to leave by the address", SOON, || connects_as(&lab) == Some(OTHER));
    assert!(!has_fault(&gateway, "eip_missing"));
}

#[test]
fn an_eip_that_somebody_removes_comes_back() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let mut gateway = Gateway::start(&lab, &Options::eips(2)).unwrap();
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    for n in 0..2 {
        lab.gw().ip(&format!("addr del {}/32 dev out0", eip(n))).unwrap();
    }
    wait_until("both to be back", SOON, || has_address(&lab, eip(0)) && has_address(&lab, eip(1)));
    wait_until("natgw to say so", SOON, || says(&gateway, "somebody removed the EIP"));
    lab.node("wan").ip("neigh flush all").unwrap();
    clients::echo(&mut stream, b"the router finds it").unwrap();
    assert!(!has_fault(&gateway, "eip_missing"));
    gateway.stop().unwrap();
    assert!(!has_address(&lab, eip(0)) && !has_address(&lab, eip(1)), "natgw takes them along");
}

#[test]
fn a_shared_eip_that_the_host_loses_is_a_fault_until_it_is_back() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options { eips: vec![GW_OUTSIDE.to_string()], ..Options::default() };
    let gateway = Gateway::start(&lab, &options).unwrap();
    assert!(!has_fault(&gateway, "eip_missing"));
    loses(&lab, GW_OUTSIDE);
    assert!(has_fault(&gateway, "eip_missing"), "at once");
    gets(&lab, GW_OUTSIDE);
    assert!(!has_fault(&gateway, "eip_missing"));
}

#[test]
fn sysctls_that_somebody_sets_back_are_set_again() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    // The kernel tells of the first; the second is looked at now and then.
    for (sysctl, undone, needed) in
        [("net.ipv4.conf.in0.forwarding", "0", "1"), ("net.ipv4.conf.out0.arp_ignore", "0", "1")]
    {
        lab.gw().sysctl(sysctl, undone).unwrap();
        wait_until(sysctl, SOON * 2, || lab.gw().read_sysctl(sysctl).unwrap().trim() == needed);
        wait_until("natgw to say so", SOON, || says(&gateway, sysctl));
    }
    assert!(!has_fault(&gateway, "sysctl_reset"), "once is no fault");
    wait_until("a fault", PATIENCE, || {
        lab.gw().sysctl("net.ipv4.conf.in0.forwarding", "0").unwrap();
        has_fault(&gateway, "sysctl_reset")
    });
}

#[test]
fn forwarding_that_the_operator_switched_on_meanwhile_stays_on() {
    for (meanwhile, after) in [(None, "0"), (Some("1"), "1")] {
        let lab = Lab::two_armed(1).unwrap();
        let of_in0 = || lab.gw().read_sysctl("net.ipv4.conf.in0.forwarding").unwrap().trim().to_owned();
        assert_eq!(of_in0(), "0", "as the lab starts");
        let mut gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
        assert_eq!(of_in0(), "1");
        if let Some(value) = meanwhile {
            lab.gw().sysctl("net.ipv4.ip_forward", value).unwrap();
        }
        gateway.stop().unwrap();
        assert_eq!(of_in0(), after, "{meanwhile:?}");
    }
}

#[test]
fn an_eip_of_another_host_is_refused_unless_that_is_wanted() {
    let lab = Lab::two_armed(1).unwrap();
    lab.node("wan").ip(&format!("addr add {}/32 dev gw0", eip(1))).unwrap();
    let mac = mac_text(mac_of(lab.node("wan"), "gw0").unwrap());
    let refused = run_to_end(&lab, &Options::eips(2)).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{said}");
    for part in [&eip(1).to_string(), &mac, "on out0", "--duplicate-check false"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!has_address(&lab, eip(0)) && !has_address(&lab, eip(1)), "nothing was taken");

    let config = |eips: &str, more: &str| {
        format!(
            "{more}[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n[[pool]]\neips = [{eips}]\n\
             sources = [\"10.0.0.0/8\"]\n"
        )
    };
    let both = format!("\"{}\", \"{}\"", eip(0), eip(1));
    let options = Options { config: Some(config(&format!("\"{}\"", eip(0)), "")), ..Options::default() };
    let gateway = Gateway::start(&lab, &options).unwrap();
    for (text, answer) in [
        (config(&both, ""), " not reloaded: another host has"),
        (config(&both, "duplicate_check = false\n"), "INFO reloaded: "),
    ] {
        std::fs::write(lab.dir().join("natgw.toml"), text).unwrap();
        gateway.signal(Signal::SIGHUP).unwrap();
        wait_until(answer, PATIENCE, || says(&gateway, answer));
    }
    assert!(has_address(&lab, eip(0)) && has_address(&lab, eip(1)));
}

/// EIPs that a gateway announced: by ARP requests about itself.
fn announced(tap: &nat_tests::lab::Tap) -> BTreeSet<[u8; 4]> {
    let is_announcement = |f: &[u8]| f.len() >= 42 && f[12..14] == [8, 6] && f[28..32] == f[38..42];
    let frames = tap.frames();
    frames.iter().filter(|f| is_announcement(&f.bytes)).map(|f| f.bytes[28..32].try_into().unwrap()).collect()
}

#[test]
fn four_thousand_eips_are_there_within_a_second() {
    let lab = Lab::two_armed(1).unwrap();
    let mut one = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let usual = one.started_in();
    one.stop().unwrap();
    let tap = nat_tests::lab::Tap::start(lab.node("wan"), "gw0").unwrap();
    let options = Options { eips: vec!["198.18.0.0/20".to_owned()], ..Options::default() };
    let mut gateway = Gateway::start(&lab, &options).unwrap();
    let took = gateway.started_in().saturating_sub(usual);
    // A second on a quiet machine; before they were added many at a time, it was a minute.
    assert!(took < Duration::from_secs(4), "{took:?} more than for one");
    let count = || {
        let all = lab.gw().output("ip", &["-o", "-4", "addr", "show", "dev", "out0"]).unwrap();
        all.lines().filter(|l| l.contains(" 198.18.")).count()
    };
    assert_eq!(count(), 4096);
    assert_eq!(tap.lost().unwrap(), 0);
    assert_eq!(announced(&tap).len(), 4096);
    let begin = Instant::now();
    gateway.stop().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?} to stop", begin.elapsed());
    assert_eq!(count(), 0);
}

#[test]
fn a_start_with_many_eips_can_be_taken_down_at_any_moment() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options { eips: vec!["198.18.0.0/20".to_owned()], ..Options::default() };
    let gateway = Gateway::launch(&lab, &options).unwrap();
    // It is recorded before anything is changed.
    let state = gateway.state_dir().join("state.json");
    wait_until("the start to begin", PATIENCE, || state.exists());
    let said = gateway.say(&["detach"]).unwrap();
    assert!(said.contains("stopped the daemon"), "{said}");
    let left = lab.gw().output("ip", &["-o", "-4", "addr", "show", "dev", "out0"]).unwrap();
    assert_eq!(left.lines().count(), 1, "{left}");
    assert!(!state.exists());
}
