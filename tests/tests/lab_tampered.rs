//! Pins and state that somebody spoiled: natgw replaces or refuses, says which and why, and never panics.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::fs;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use nat_tests::lab::gateway::run_to_end;
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients};

/// The one directory of pins.
fn pins(gateway: &Gateway<'_>) -> PathBuf {
    let mut all = fs::read_dir(gateway.bpffs()).unwrap().map(|e| e.unwrap().path());
    all.find(|p| p.file_name().unwrap().to_str().unwrap().starts_with('v')).unwrap()
}

fn killed(lab: &Lab) -> Gateway<'_> {
    let mut gateway = Gateway::start(lab, &Options::one_eip().arg("--persist")).unwrap();
    gateway.kill9().unwrap();
    gateway
}

fn said(out: &Output) -> String {
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!text.contains("panicked") && out.status.code().is_some_and(|c| c != 101), "{text}");
    text
}

fn translates(lab: &Lab) {
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
}

/// `spoil` gets the directory of pins; what the verbs that look say about `named`, and then a start replaces it all.
fn replaced_after(named: &str, wanted: &str, spoil: impl Fn(&Path)) {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = killed(&lab);
    spoil(&pins(&gateway));
    let texts: Vec<String> =
        [&["status"][..], &["flows"], &["stats"], &["eip", "list"], &["flows", "delete", "--all"]]
            .iter()
            .map(|verb| said(&gateway.verb(verb).unwrap()))
            .collect();
    if !wanted.is_empty() {
        let told = texts.iter().any(|t| t.contains(named) && t.contains(wanted));
        assert!(told, "nothing says that {named} is not {wanted}: {texts:#?}");
    }
    drop(gateway);
    let mut again = Gateway::start(&lab, &Options::one_eip()).unwrap();
    assert!(again.has_logged("replaced") && again.log().contains(named), "{}", again.log());
    translates(&lab);
    assert_eq!(again.stop().unwrap().code(), Some(0), "{}", again.log());
    assert!(!again.bpffs().exists() && !again.state_dir().exists());
}

#[test]
fn a_program_in_place_of_a_map() {
    replaced_after("/FLOWS", "a program where natgw pins a map", |dir| {
        fs::rename(dir.join("prog_xdp_inside"), dir.join("FLOWS")).unwrap();
    });
}

#[test]
fn a_map_of_another_type() {
    replaced_after("SETTINGS", "a map of another type", |dir| {
        fs::rename(dir.join("STATS"), dir.join("SETTINGS")).unwrap();
    });
}

#[test]
fn a_map_of_another_size() {
    // Both are plain arrays.
    replaced_after("FLOWS", "a map of another type or size", |dir| {
        fs::rename(dir.join("IFINDEX"), dir.join("FLOWS")).unwrap();
    });
}

#[test]
fn a_directory_in_place_of_a_map() {
    replaced_after("/EIPS", "a directory where natgw pins a map", |dir| {
        fs::remove_file(dir.join("EIPS")).unwrap();
        fs::create_dir(dir.join("EIPS")).unwrap();
    });
}

#[test]
fn a_missing_map() {
    replaced_after("HOPS is missing", "", |dir| fs::remove_file(dir.join("HOPS")).unwrap());
}

#[test]
fn maps_in_place_of_the_reaper_and_of_a_link() {
    replaced_after("EXEMPT is missing", "", |dir| {
        fs::rename(dir.join("EXEMPT"), dir.join("prog_reaper")).unwrap();
        fs::rename(dir.join("EVENTS"), dir.join("link_xdp_in0")).unwrap();
    });
}

#[test]
fn what_is_no_pin_is_named_before_anything_is_touched() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = killed(&lab);
    let dir = pins(&gateway);
    fs::create_dir_all(dir.join("FLOWS_old/inner")).unwrap();
    let before = fs::read_dir(&dir).unwrap().count();
    let refused = run_to_end(&lab, &Options::one_eip()).unwrap();
    let text = said(&refused);
    assert!(!refused.status.success() && text.contains("FLOWS_old is not natgw's"), "{text}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), before);
    translates(&lab);

    let detached = gateway.verb(&["detach"]).unwrap();
    let text = said(&detached);
    assert!(!detached.status.success() && text.contains("FLOWS_old is not natgw's"), "{text}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "the rest is gone");
    fs::remove_dir(dir.join("FLOWS_old/inner")).unwrap();
    gateway.say(&["detach"]).unwrap();
    assert!(!gateway.bpffs().exists() && !gateway.state_dir().exists());
}

#[test]
fn a_forged_state_is_refused_by_every_verb_that_would_act_on_it() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = killed(&lab);
    let file = gateway.state_dir().join("state.json");
    let good = fs::read_to_string(&file).unwrap();
    let victim = tempfile::tempdir().unwrap();
    let before = lab.gw().read_sysctl("net.ipv4.conf.lo.rp_filter").unwrap();
    for (field, value) in [
        ("directories", serde_json::json!([victim.path()])),
        (
            "sysctls",
            serde_json::json!([{
                "interface": "lo", "ifindex": 1, "key": "rp_filter", "original": "2", "applied": before
            }]),
        ),
    ] {
        let mut state: serde_json::Value = serde_json::from_str(&good).unwrap();
        state[field] = value;
        fs::write(&file, state.to_string()).unwrap();
        for out in [gateway.verb(&["detach"]).unwrap(), run_to_end(&lab, &Options::one_eip()).unwrap()] {
            let text = said(&out);
            assert!(
                !out.status.success() && text.contains("state.json holds what natgw never writes"),
                "{text}"
            );
        }
        assert!(victim.path().exists());
        assert_eq!(lab.gw().read_sysctl("net.ipv4.conf.lo.rp_filter").unwrap(), before);
        translates(&lab);
    }
    fs::write(&file, good).unwrap();
    gateway.say(&["detach"]).unwrap();
    assert!(!gateway.bpffs().exists() && !gateway.state_dir().exists());
}

#[test]
fn detach_stops_nobody_but_the_daemon_of_its_state_directory() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = killed(&lab);
    // Another gateway's daemon, by its name.
    let other = lab.dir().join("natgw");
    // Not by this process: a child of another test's thread could inherit the file while it is open for writing, and the kernel
    // starts no program that is.
    assert!(Command::new("cp").arg("/bin/sleep").arg(&other).status().unwrap().success());
    let mut decoy = Command::new(&other).arg("60").spawn().unwrap();
    let file = gateway.state_dir().join("state.json");
    let mut state: serde_json::Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    state["pid"] = decoy.id().into();
    fs::write(&file, state.to_string()).unwrap();
    let out = gateway.verb(&["detach"]).unwrap();
    let alive = decoy.try_wait().unwrap().is_none();
    decoy.kill().unwrap();
    decoy.wait().unwrap();
    assert!(alive, "detach ended a process that it has nothing to do with");
    assert!(out.status.success(), "{}", said(&out));
    assert!(!gateway.bpffs().exists() && !gateway.state_dir().exists());
}
