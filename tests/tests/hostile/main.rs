//! Hostile hosts: M inside and E on the outside wire try to get by. Each test is an attack that once succeeded, or a
//! control beside one; it asserts on captures, on what the victim sees, then on natgw's counters. The numbers of
//! invariants are those of docs/ARCHITECTURE.md.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

mod accounting;
mod encap;
mod errors;
mod groups;
mod handover;
mod hops;
mod local;
mod pings;
mod pmtu;
mod rpf;
mod sources;
mod spray;
mod sysctls;
mod tags;
mod tcp;
mod wire;

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nat_tests::lab::{Gateway, Lab, Options};
use serde_json::Value;

/// How long something that must happen may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// The port of every service in these tests.
const SERVICE: u16 = 6000;

fn at(addr: Ipv4Addr, port: u16) -> SocketAddrV4 {
    SocketAddrV4::new(addr, port)
}

/// A gateway of which the guards are left and, where `device` names one, the XDP programs of the other interfaces.
fn without_xdp<'lab>(lab: &'lab Lab, options: &Options, device: Option<&str>) -> Gateway<'lab> {
    let mut gateway = Gateway::start(lab, &options.clone().arg("--persist")).unwrap();
    gateway.kill9().unwrap();
    let of_device =
        |kind: &str| pins_below(gateway.bpffs(), &format!("{kind}{}", device.unwrap_or_default()));
    let doomed = [of_device("link_xdp_"), of_device("link_twin_")].concat();
    assert!(!doomed.is_empty(), "no pinned link in {}", gateway.bpffs().display());
    for pin in doomed {
        lab.gw().output("bpftool", &["link", "detach", "pinned", pin.to_str().unwrap()]).unwrap();
        std::fs::remove_file(pin).unwrap();
    }
    gateway
}

/// Pins below a directory whose names begin so.
fn pins_below(dir: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            found.extend(pins_below(&entry.path(), prefix));
        } else if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    found
}

/// A configuration file for the lab's two interfaces and one dedicated EIP: `head` comes before the tables.
fn config(head: &str, eips: &[Ipv4Addr]) -> Options {
    let eips: Vec<String> = eips.iter().map(|e| format!("\"{e}\"")).collect();
    let text = format!(
        "{head}\n[interfaces]\ninside = [\"in0\"]\noutside = [\"out0\"]\n[[pool]]\nname = \"lab\"\neips = [{}]\n",
        eips.join(", ")
    );
    Options { config: Some(text), ..Options::default() }
}

/// Sum of all drops but those of the guards, which see what XDP has passed and counted.
fn drops(stats: &Value) -> u64 {
    let all = stats["drops"].as_object().unwrap();
    all.iter().filter(|(reason, _)| *reason != "guard").filter_map(|(_, n)| n.as_u64()).sum()
}

/// Fails when there is anything in `found`.
fn assert_none(what: &str, found: impl IntoIterator<Item = impl Into<String>>) {
    let found: BTreeSet<String> = found.into_iter().map(Into::into).collect();
    let some: Vec<_> = found.iter().take(200).collect();
    assert!(found.is_empty(), "{what}: {}, e.g. {some:#?}", found.len());
}
