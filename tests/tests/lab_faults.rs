//! Whatever is wrong is said: each fault is provoked from outside, and read as a user reads it.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::time::Duration;

use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients, wait_until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// `natgw status --json`.
fn status(gateway: &Gateway<'_>) -> Value {
    serde_json::from_str(&gateway.say(&["status", "--json"]).unwrap()).unwrap()
}

/// Codes of the faults at this moment.
fn codes(gateway: &Gateway<'_>) -> Vec<String> {
    let status = status(gateway);
    let faults = status["faults"].as_array().unwrap();
    faults.iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
}

fn has(gateway: &Gateway<'_>, code: &str) -> bool {
    codes(gateway).iter().any(|c| c == code)
}

/// GRO off at the other end of a veth: nobody takes what XDP redirects there, and the kernel tells natgw's program nothing.
#[test]
fn redirects_that_the_kernel_refuses_are_counted_and_not_as_sent() {
    let lab = Lab::two_armed(1).unwrap();
    let mut gateway = Gateway::start(&lab, &Options::one_eip().arg("--persist")).unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 2, &[]).unwrap(), 2);
    let before = gateway.stats().unwrap();
    assert_eq!(before["lost"], serde_json::json!({}));
    lab.node("lan").output("ethtool", &["-K", "gw", "gro", "off"]).unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 0);
    let after = gateway.stats().unwrap();
    let grown = |path: &str| {
        after.pointer(path).unwrap().as_u64().unwrap() - before.pointer(path).unwrap().as_u64().unwrap()
    };
    assert_eq!(grown("/packets/destination_out"), 3);
    assert_eq!((grown("/packets/destination_in"), grown("/packets/source_out")), (3, 0), "{after:#}");
    assert_eq!(grown("/drops/redirect_error"), 3, "{after:#}");
    assert_eq!(after["lost"]["in0"]["refused"], 3, "{after:#}");
    let page = gateway.say(&["stats"]).unwrap();
    assert!(page.contains("LOST AT") && page.contains("in0"), "{page}");

    // They are counted without a daemon too.
    gateway.kill9().unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 2, &[]).unwrap(), 0);
    assert_eq!(gateway.stats().unwrap()["lost"]["in0"]["refused"], 5);
}
