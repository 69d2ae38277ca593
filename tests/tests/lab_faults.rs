//! Whatever is wrong is said: each fault is provoked from outside, and read as a user reads it.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::time::Duration;

use nat_tests::lab::gateway::natgw_path;
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

/// GRO off at the other end of a veth: nobody takes what XDP redirects there, and the kernel tells natgw's program nothing. A daemon
/// that runs would see the device change, and have the guard send to it.
#[test]
fn redirects_that_the_kernel_refuses_are_counted_and_not_as_sent() {
    let lab = Lab::two_armed(1).unwrap();
    let mut gateway = Gateway::start(&lab, &Options::one_eip().arg("--persist")).unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 2, &[]).unwrap(), 2);
    let before = gateway.stats().unwrap();
    assert_eq!(before["lost"], serde_json::json!({}));
    gateway.kill9().unwrap();
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

    std::thread::scope(|s| {
        s.spawn(|| clients::ping(lab.client(0), SRV_A, 30, &[]).unwrap());
        wait_until("redirects to fail", PATIENCE, || has(&gateway, "redirects_failing"));
    });
    lab.node("lan").output("ethtool", &["-K", "gw", "gro", "on"]).unwrap();
    wait_until("redirects to work", PATIENCE, || codes(&gateway) == ["daemon_down"]);
}

#[test]
fn a_missing_route_and_a_link_that_is_down_are_faults_until_they_are_mended() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    assert_eq!(codes(&gateway), [""; 0]);
    let gw = lab.gw();

    gw.ip("route del default").unwrap();
    wait_until("the route to be missed", PATIENCE, || has(&gateway, "no_default_route"));
    gw.ip("route add default dev lo").unwrap();
    wait_until("the route to be unmanaged", PATIENCE, || has(&gateway, "route_unmanaged"));
    gw.ip("route del default").unwrap();
    gw.ip("route add default via 192.0.2.254").unwrap();
    wait_until("the route to be there", PATIENCE, || codes(&gateway).is_empty());

    lab.node("wan").ip("link set gw0 down").unwrap();
    wait_until("the carrier to be missed", PATIENCE, || {
        has(&gateway, "link_down") && has(&gateway, "side_down")
    });
}

#[test]
fn silence_a_firewall_and_clients_with_an_offload_are_faults() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    lab.gw().output("nft", &["add table inet ng; add chain inet ng ng_fwd { type filter hook forward priority 0; policy drop; }"]).unwrap();
    wait_until("the firewall to be told", PATIENCE, || has(&gateway, "forward_policy_drop"));

    // The upstream forgets where the EIPs are.
    lab.node("wan").ip("route replace blackhole 203.0.113.0/24").ok();
    lab.node("wan").ip("addr flush dev gw0").unwrap();
    lab.node("wan").ip("addr add 192.0.2.254/32 dev gw0").unwrap();
    std::thread::scope(|s| {
        for _ in 0..3 {
            s.spawn(|| clients::ping(lab.client(0), SRV_A, 30, &[]).unwrap());
        }
        wait_until("the silence to be told", PATIENCE, || has(&gateway, "no_answers"));
    });

    let lab = &lab;
    for (node, device) in [(lab.client(0), "eth0"), (lab.node("lan"), "gw")] {
        node.output("ethtool", &["-K", device, "tx", "on"]).unwrap();
    }
    std::thread::scope(|s| {
        for first in [4000, 5000, 6000] {
            s.spawn(move || {
                for port in first..first + 30 {
                    let command = format!("exec 3<>/dev/tcp/{SRV_A}/{port}");
                    let _ = lab.client(0).output("timeout", &["0.2", "bash", "-c", &command]);
                }
            });
        }
        wait_until("the offload to be told", PATIENCE, || has(&gateway, "offload_trap"));
    });
}

/// Before natgw runs, while it runs, and where it cannot.
#[test]
fn the_doctor_says_whether_the_host_is_fit() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = ["--inside", "in0", "--outside", "out0", "--eip", "203.0.113.200", "--max-flows", "10000"];
    let examine = |args: &[&str]| {
        let mut command = lab.gw().command(natgw_path());
        let out = command.args([&["doctor", "--json"], args].concat()).output().unwrap();
        let document: Value = serde_json::from_slice(&out.stdout).unwrap();
        (out.status.code().unwrap(), document)
    };
    let outcome = |document: &Value, check: &str| {
        let checks = document["checks"].as_array().unwrap();
        let found =
            checks.iter().find(|c| c["check"] == check).unwrap_or_else(|| panic!("no {check}: {document:#}"));
        (found["outcome"].as_str().unwrap().to_owned(), found["text"].as_str().unwrap().to_owned())
    };
    let (code, fit) = examine(&gateway);
    assert_eq!((code, &fit["fit"]), (0, &Value::Bool(true)), "{fit:#}");
    for check in ["kernel", "btf", "configuration", "memory", "link in0", "xdp out0", "route", "firewall"] {
        assert_eq!(outcome(&fit, check).0, "ok", "{check}: {fit:#}");
    }

    let running = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let (code, document) = examine(&gateway);
    assert_eq!((code, outcome(&document, "xdp in0").1.as_str()), (0, "natgw's program is there"));
    drop(running);

    lab.gw().ip("route del default").unwrap();
    let (code, document) = examine(&["--inside", "in0", "--outside", "gone0", "--eip", "203.0.113.200"]);
    assert_eq!((code, outcome(&document, "configuration").0.as_str()), (1, "fail"), "{document:#}");
    let (_, document) = examine(&gateway);
    assert_eq!(outcome(&document, "route").0, "warn");
}

/// The router is not up yet when the gateway boots: natgw starts, says what it waits for, and says `ready` when it is true.
#[test]
fn ready_is_said_when_packets_get_through_and_not_before() {
    let lab = Lab::two_armed(1).unwrap();
    lab.node("wan").ip("link set gw0 down").unwrap();
    let options = Options::one_eip().arg("--metrics").arg("127.0.0.1:9464");
    let gateway = Gateway::launch(&lab, &options).unwrap();
    let ask = |path: &str| {
        let url = format!("http://127.0.0.1:9464{path}");
        let mut command = lab.gw().command("curl");
        let out = command.args(["-s", "-w", "%{http_code}", &url]).output().unwrap();
        String::from_utf8(out.stdout).unwrap()
    };
    wait_until("natgw to be up", PATIENCE, || gateway.log().contains("no packet gets through yet"));
    wait_until("metrics", PATIENCE, || ask("/healthz").ends_with("200"));
    let why = ask("/readyz");
    assert!(why.ends_with("503") && why.starts_with("side_down: every outside interface"), "{why}");
    let metrics = ask("/metrics");
    assert!(metrics.contains("\nnatgw_up 0\n"), "{metrics}");
    assert!(metrics.contains("natgw_fault{code=\"side_down\",severity=\"critical\"} 1"), "{metrics}");
    assert!(!gateway.has_logged("ready"), "{}", gateway.log());

    lab.node("wan").ip("link set gw0 up").unwrap();
    wait_until("natgw to be ready", PATIENCE, || gateway.has_logged("ready"));
    assert_eq!(clients::ping(lab.client(0), SRV_A, 1, &[]).unwrap(), 1);
    assert!(ask("/readyz").ends_with("200") && ask("/metrics").contains("\nnatgw_up 1\n"));
}
