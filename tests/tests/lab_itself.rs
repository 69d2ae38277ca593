//! The lab does what the other suites take for granted: it starts and goes quickly, alone and beside
//! others, its servers and clients work, and its leak tap sees a leak. Here the kernel forwards; no natgw.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::net::SocketAddrV4;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nat_tests::lab::servers::{DOWNLOAD, Server, any};
use nat_tests::lab::tap::Direction;
use nat_tests::lab::{Lab, SRV_A, SRV_B, Topology, clients, wait_until};

/// Plain routing through the gateway: what natgw must never let happen.
fn route(lab: &Lab) {
    lab.gw().sysctl("net.ipv4.ip_forward", "1").unwrap();
    lab.node("wan").ip("route add 10.0.0.0/8 via 192.0.2.100").unwrap();
}

fn namespaces_of(id: &str) -> usize {
    let all = std::fs::read_dir("/run/netns").unwrap().flatten();
    all.filter(|e| e.file_name().to_string_lossy().starts_with(&format!("{id}-"))).count()
}

#[test]
fn starts_and_goes_in_under_five_seconds_and_leaves_nothing() {
    let begin = Instant::now();
    let lab = Lab::two_armed(3).unwrap();
    let started = begin.elapsed();
    let (id, dir) = (lab.id().to_owned(), lab.dir().to_owned());
    lab.bpffs().unwrap();
    assert_eq!(namespaces_of(&id), 9);
    let begin = Instant::now();
    drop(lab);
    let stopped = begin.elapsed();
    println!("started in {started:?}, gone in {stopped:?}");
    assert!(started < Duration::from_secs(5) && stopped < Duration::from_secs(5), "{started:?} {stopped:?}");
    assert_eq!(namespaces_of(&id), 0);
    assert!(!dir.exists());
    assert!(!std::fs::read_to_string("/proc/mounts").unwrap().contains(&id));
}

#[test]
fn two_labs_at_once_do_not_meet() {
    let one = Lab::two_armed(1).unwrap();
    let two = Lab::two_armed(1).unwrap();
    assert_ne!(one.id(), two.id());
    route(&one);
    let _server = Server::udp_echo(one.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(one.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    assert!(clients::ping(two.client(0), SRV_A, 1, &[]).unwrap() == 0, "the other lab does not forward");
    one.expect_leak();
}

#[test]
fn a_lab_is_gone_after_kill_9_ctrl_c_and_sigterm() {
    for signal in ["KILL", "INT", "TERM"] {
        let mut lab = Command::new(env!("CARGO_BIN_EXE_natgw-lab"))
            .arg("--topology-only")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let id = format!("ng{}a", base36(lab.id()));
        wait_until("the lab to stand", Duration::from_secs(5), || namespaces_of(&id) >= 7);
        let sent = Command::new("kill").args(["-s", signal, &lab.id().to_string()]).status().unwrap();
        assert!(sent.success());
        lab.wait().unwrap();
        wait_until("the lab to be gone", Duration::from_secs(5), || {
            namespaces_of(&id) == 0 && !Path::new("/run/natgw-lab").join(&id).exists()
        });
    }
}

fn base36(mut n: u32) -> String {
    let mut out = String::new();
    while n > 0 {
        out.insert(0, char::from_digit(n % 36, 36).unwrap());
        n /= 36;
    }
    out
}

#[test]
fn servers_clients_taps_and_the_leak_check_work() {
    let lab = Lab::two_armed(2).unwrap();
    route(&lab);
    let outside = lab.outside_tap().unwrap();
    let http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    let udp = Server::udp_echo(lab.node("srv-b"), any(53)).unwrap();
    let echo = Server::tcp_echo(lab.node("srv-b"), any(7)).unwrap();

    let seen = clients::ask_udp(lab.client(0), 5353, SocketAddrV4::new(SRV_B, 53)).unwrap();
    assert_eq!(seen, "10.0.0.10:5353".parse().unwrap());
    assert_eq!(udp.seen(), [seen]);
    let ip = clients::curl(lab.client(1), &format!("http://{SRV_A}/ip")).unwrap();
    assert!(ip.starts_with("10.0.0.11:"), "{ip}");
    assert_eq!(http.seen().len(), 1);
    let (mut stream, seen) = clients::connect_tcp(lab.client(0), 7777, SocketAddrV4::new(SRV_B, 7)).unwrap();
    assert_eq!(seen.to_string(), "10.0.0.10:7777");
    clients::echo(&mut stream, &vec![42; 100_000]).unwrap();
    assert_eq!(echo.seen(), [seen]);
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 3);
    let begin = Instant::now();
    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    println!("100 MB in {:?}", begin.elapsed());
    assert_eq!(sum, clients::expected_sha256(DOWNLOAD).unwrap());
    assert_eq!(lab.checksum_errors().unwrap(), 0);

    let request = outside.find(|p, d| d == Direction::Received && p.sport == 5353);
    assert_eq!(request.len(), 1);
    assert_eq!((request[0].ttl, request[0].checksums_ok()), (63, true));
    assert_eq!(outside.lost().unwrap(), 0);
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| lab.assert_no_leak()));
    assert!(caught.is_err(), "plain routing is a leak, and the tap must see it");
    // Dropping the lab would rightly fail this test.
    lab.expect_leak();
}

#[test]
fn every_topology_stands() {
    for topology in [
        Topology::one_armed(2),
        Topology { second_inside: true, second_outside: true, ..Topology::default() },
        Topology { outside_mtu: 1400, inside_mtu: 9000, clients: 3, ..Topology::default() },
    ] {
        let lab = Lab::start(topology).unwrap();
        assert_eq!(clients::ping(lab.client(0), nat_tests::lab::GW_INSIDE, 1, &[]).unwrap(), 1);
        assert_eq!(clients::ping(lab.gw(), SRV_A, 1, &[]).unwrap(), 1);
        assert_eq!(clients::ping(lab.gw(), SRV_B, 1, &[]).unwrap(), 1);
        assert!(Path::new("/run/netns").join(lab.gw().name()).exists());
    }
}
