//! Which way natgw gets an interface's packets, and interfaces that come, go, and are renamed.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use nat_tests::lab::gateway::run_to_end;
use nat_tests::lab::netns::check;
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{Gateway, Lab, Options, SRV_A, clients, eip, wait_until};
use nat_tests::packet::Packet;
use nat_userspace::datapath::maps;
use nat_userspace::datapath::pins::Pins;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// As a new veth has them.
fn default_offloads(lab: &Lab) {
    for (_, ns) in lab.nodes() {
        for line in ns.output("ip", &["-o", "link", "show", "type", "veth"]).unwrap().lines() {
            let device = line.split([' ', '@']).nth(1).unwrap();
            check("ethtool", ns.command("ethtool").args(["-K", device, "tx", "on", "gro", "off"])).unwrap();
        }
    }
}

/// Interfaces as `natgw status` tells of them: name and path.
fn paths(gateway: &Gateway<'_>) -> Vec<(String, String)> {
    let status: Value = serde_json::from_str(&gateway.say(&["status", "--json"]).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let interfaces = status["interfaces"].as_array().unwrap().iter();
    interfaces.filter(|i| i["attached"] == true).map(|i| (text(&i["name"]), text(&i["xdp_mode"]))).collect()
}

fn pair(name: &str, path: &str) -> (String, String) {
    (name.to_owned(), path.to_owned())
}

#[test]
fn veths_with_default_offloads_get_tc_by_themselves_and_carry_traffic() {
    let lab = Lab::two_armed(1).unwrap();
    default_offloads(&lab);
    let gateway = Gateway::start(&lab, &Options::one_eip().auto()).unwrap();
    assert_eq!(paths(&gateway), [pair("in0", "tc"), pair("out0", "tc")]);
    let page = gateway.say(&["status"]).unwrap();
    assert!(page.contains("in0 (inside, tc)") && !page.contains("fault"), "{page}");
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 3);
    let seen = clients::curl(lab.client(0), &format!("http://{SRV_A}/ip")).unwrap();
    assert!(seen.starts_with(&eip(0).to_string()), "{seen}");
    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(nat_tests::lab::servers::DOWNLOAD).unwrap());
    assert_eq!(lab.checksum_errors().unwrap(), 0);
}

#[test]
fn a_bridge_is_served_and_its_port_is_not() {
    let lab = Lab::two_armed(1).unwrap();
    lab.gw()
        .ip("link add br7 type bridge stp_state 0 forward_delay 0\nlink set br7 up\naddr flush dev in0\n\
             link set in0 master br7\naddr add 10.0.0.1/24 dev br7")
        .unwrap();
    let options = Options { inside: Some(vec!["br7".to_owned()]), ..Options::one_eip() };
    let _http = Server::http(lab.node("srv-a"), any(80)).unwrap();
    // Named by itself, the port is refused with the way out.
    let port = Options { inside: Some(vec!["in0".to_owned()]), ..options.clone() };
    let refused = run_to_end(&lab, &port).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("name the bridge instead"), "{said}");
    let gateway = Gateway::start(&lab, &options.auto()).unwrap();
    assert_eq!(paths(&gateway), [pair("br7", "tc"), pair("out0", "tc")]);
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 3);
    let sum = clients::download(lab.client(0), &format!("http://{SRV_A}/100mb")).unwrap();
    assert_eq!(sum, clients::expected_sha256(nat_tests::lab::servers::DOWNLOAD).unwrap());
}

/// A redirect into a veth whose peer has no NAPI is lost in silence.
#[test]
fn packets_arrive_whether_the_peer_of_a_veth_has_napi_or_not() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip().arg("--xdp").arg("native")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 53);
    let pins = Pins::new(gateway.bpffs());
    let targets = || {
        let devices = maps::devices(&pins).unwrap();
        (0..4).filter(|place| devices.get(*place, 0).is_ok()).count()
    };
    // Before 6.3 the kernel does not tell, and a veth is never taken for ready.
    let kernel_tells = targets() == 2;
    for (gro, count) in [("off", 1), ("on", 2), ("off", 1)] {
        let ethtool =
            |gro| check("ethtool", lab.node("lan").command("ethtool").args(["-K", "gw", "gro", gro]));
        ethtool(gro).unwrap();
        if kernel_tells {
            wait_until("readiness to be followed", PATIENCE, || targets() == count);
        }
        for _ in 0..5 {
            clients::ask_udp(lab.client(0), 0, server).unwrap();
        }
    }
    assert_eq!(gateway.drops("redirect_error").unwrap(), 0);
}

/// A device without Ethernet header, as `WireGuard` and PPP are: the test is at its other end.
#[test]
fn a_device_without_ethernet_header_is_served() {
    const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
    let lab = Lab::two_armed(1).unwrap();
    let mut tun =
        lab.gw().run(|| std::fs::File::options().read(true).write(true).open("/dev/net/tun")).unwrap();
    // struct ifreq: name, then flags.
    let mut request = [0u8; 40];
    request[..4].copy_from_slice(b"tun0");
    request[16..18].copy_from_slice(&i16::try_from(libc::IFF_TUN | libc::IFF_NO_PI).unwrap().to_ne_bytes());
    let fd = tun.as_raw_fd();
    // SAFETY: an open descriptor, and a request of the size that the call reads.
    assert_eq!(lab.gw().run(|| unsafe { libc::ioctl(fd, TUNSETIFF, request.as_ptr()) }), 0);
    lab.gw().ip("link set tun0 up\naddr add 10.3.0.1/24 dev tun0").unwrap();
    let options = Options { inside: Some(vec!["tun0".to_owned()]), ..Options::one_eip() };
    let refused = run_to_end(&lab, &options.clone().arg("--xdp").arg("native")).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("no Ethernet header"), "{said}");

    let gateway = Gateway::start(&lab, &options.auto()).unwrap();
    assert_eq!(paths(&gateway), [pair("tun0", "tc"), pair("out0", "tc")]);
    let dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let guest = SocketAddrV4::new(Ipv4Addr::new(10, 3, 0, 10), 5000);
    let asked = Packet::udp(guest, SocketAddrV4::new(SRV_A, 53)).payload(b"who?".to_vec()).build();
    tun.write_all(&asked[14..]).unwrap();
    wait_until("the question", PATIENCE, || !dns.seen().is_empty());
    assert_eq!(*dns.seen()[0].ip(), eip(0));
    // Whatever else the kernel sends there (IPv6 neighbours) comes by this way, too.
    let is_answer = |packet: &[u8]| {
        packet[0] == 0x45 && packet[12..16] == SRV_A.octets() && packet[16..20] == guest.ip().octets()
    };
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut packet = [0u8; 2048];
        while let Ok(length) = tun.read(&mut packet) {
            if sender.send(packet[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let left = || deadline.saturating_duration_since(Instant::now());
    while !is_answer(&received.recv_timeout(left()).expect("an answer")) {}
}

/// Another interface between the gateway and the client, by which the client reaches the server.
fn plug(lab: &Lab, name: &str) {
    let client = lab.client(0).name();
    lab.gw()
        .ip(&format!(
            "link add {name} type veth peer name eth7 netns {client}\naddr add 10.7.0.1/24 dev {name}\nlink set {name} up"
        ))
        .unwrap();
    lab.client(0)
        .ip(&format!("addr add 10.7.0.2/24 dev eth7\nlink set eth7 up\nroute add {SRV_A}/32 via 10.7.0.1"))
        .unwrap();
}

#[test]
fn interfaces_that_a_pattern_matches_are_served_while_they_are_there() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options { inside: Some(vec!["veth-*".to_owned()]), ..Options::one_eip() };
    let gateway = Gateway::start(&lab, &options.auto()).unwrap();
    assert_eq!(paths(&gateway), [pair("out0", "tc")], "nothing is there yet");
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 7);

    plug(&lab, "veth-a");
    let begin = Instant::now();
    wait_until("the newcomer to be attached", PATIENCE, || {
        gateway.log().contains("attached interface=\"veth-a\"")
    });
    // A few milliseconds on an idle machine; not the seconds between two looks at everything.
    assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
    assert!(paths(&gateway).contains(&pair("veth-a", "tc")));
    let (mut stream, seen_as) = clients::connect_tcp(lab.client(0), 0, server).unwrap();
    assert_eq!(*seen_as.ip(), eip(0));
    clients::echo(&mut stream, b"before").unwrap();

    // The connection goes on under another name that matches.
    lab.gw().ip("link set veth-a down\nlink set veth-a name veth-b\nlink set veth-b up").unwrap();
    wait_until("the new name", PATIENCE, || paths(&gateway).contains(&pair("veth-b", "tc")));
    assert!(!paths(&gateway).iter().any(|(name, _)| name == "veth-a"));
    clients::echo(&mut stream, b"after").unwrap();

    // Under one that does not match it is nobody's business.
    lab.gw().ip("link set veth-b down\nlink set veth-b name other0\nlink set other0 up").unwrap();
    wait_until("it to be given up", PATIENCE, || paths(&gateway) == [pair("out0", "tc")]);
    assert_eq!(lab.gw().read_sysctl("net.ipv4.conf.other0.forwarding").unwrap(), "0");
    lab.gw().ip("link set other0 down\nlink set other0 name veth-c\nlink set veth-c up").unwrap();
    wait_until("it to be taken in again", PATIENCE, || paths(&gateway).contains(&pair("veth-c", "tc")));
    clients::echo(&mut stream, b"again").unwrap();

    lab.gw().ip("link del veth-c").unwrap();
    wait_until("it to be gone", PATIENCE, || paths(&gateway) == [pair("out0", "tc")]);
    let page = gateway.say(&["status"]).unwrap();
    assert!(!page.contains("missing"), "what a pattern matched is not waited for: {page}");
}

#[test]
fn a_restart_changes_between_native_xdp_and_tc_and_no_flow_is_lost() {
    let lab = Lab::two_armed(1).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let start =
        |xdp: &str| Gateway::start(&lab, &Options::one_eip().arg("--persist").arg("--xdp").arg(xdp)).unwrap();
    let xdp_programs = || lab.gw().output("ip", &["-o", "link"]).unwrap().matches("prog/xdp").count();
    let twins = |gateway: &Gateway<'_>| {
        let pins = gateway.bpffs().join(format!("v{}", nat_common::abi::SCHEMA));
        ["in0", "out0"].iter().filter(|i| pins.join(format!("link_twin_{i}")).exists()).count()
    };
    let mut gateway = start("native");
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 7)).unwrap();
    for xdp in ["native", "tc", "tc", "native"] {
        clients::echo(&mut stream, xdp.as_bytes()).unwrap();
        gateway.kill9().unwrap();
        gateway = start(xdp);
        assert_eq!(paths(&gateway), [pair("in0", xdp), pair("out0", xdp)]);
        assert!(gateway.log().contains("adopted"), "{}", gateway.log());
        assert_eq!((xdp_programs(), twins(&gateway)), if xdp == "tc" { (0, 2) } else { (2, 0) });
        clients::echo(&mut stream, b"still there").unwrap();
    }
    gateway.kill9().unwrap();
    let detached = gateway.verb(&["detach"]);
    assert!(detached.unwrap().status.success());
    assert_eq!(xdp_programs(), 0);
}

#[test]
fn a_tc_program_that_somebody_detaches_is_attached_again() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip().arg("--xdp").arg("tc")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 53);
    let twin = gateway.bpffs().join(format!("v{}/link_twin_in0", nat_common::abi::SCHEMA));
    if !twin.exists() {
        // Linux before 6.6 has no TCX, and filters are not watched.
        return;
    }
    lab.gw().output("bpftool", &["link", "detach", "pinned", twin.to_str().unwrap()]).unwrap();
    wait_until("traffic", PATIENCE, || clients::ask_udp(lab.client(0), 0, server).is_ok());
    assert!(gateway.log().contains("somebody detached natgw's program"), "{}", gateway.log());
}
