//! Start, stop, crash, and everything that must be as it was afterwards.
#![expect(clippy::unwrap_used, reason = "a test panics where it fails; helpers are part of tests")]

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nat_tests::lab::gateway::{natgw_path, run_to_end, xdp_in_words};
use nat_tests::lab::servers::{Server, any};
use nat_tests::lab::{
    GW_OUTSIDE, Gateway, Lab, Options, SRV_A, Topology, client_addr, clients, eip, wait_until, xdp_pass,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// Everything about the gateway's namespace that natgw may change and must put back.
fn fingerprint(lab: &Lab) -> BTreeMap<String, String> {
    let gw = lab.gw();
    let mut all = BTreeMap::new();
    for (what, args) in [
        ("links", &["-d", "-o", "link"][..]),
        ("addresses", &["-o", "-4", "addr"]),
        ("routes", &["route", "show", "table", "all"]),
        ("rules", &["rule"]),
    ] {
        all.insert(what.to_owned(), gw.output("ip", args).unwrap());
    }
    for device in
        lab.topology().inside().into_iter().chain(lab.topology().outside()).chain(["all", "default"])
    {
        for key in ["forwarding", "rp_filter", "accept_local", "arp_ignore", "arp_announce", "arp_filter"] {
            let key = format!("net.ipv4.conf.{device}.{key}");
            let value = gw.read_sysctl(&key).unwrap();
            all.insert(key, value);
        }
        if !["all", "default"].contains(&device) {
            all.insert(format!("offloads of {device}"), gw.output("ethtool", &["-k", device]).unwrap());
        }
    }
    all.insert("ip_forward".to_owned(), gw.read_sysctl("net.ipv4.ip_forward").unwrap());
    all
}

fn pins_below(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(pins_below(&entry.path()));
        } else {
            found.push(entry.path().display().to_string());
        }
    }
    found
}

#[test]
fn sigterm_exits_0_and_leaves_nothing() {
    let lab = Lab::two_armed(1).unwrap();
    let before = fingerprint(&lab);
    let mut gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    assert_ne!(fingerprint(&lab), before, "the fingerprint sees a running natgw");
    assert!(!pins_below(gateway.bpffs()).is_empty());
    let status = gateway.stop().unwrap();
    assert_eq!(status.code(), Some(0), "{}", gateway.log());
    assert_eq!(fingerprint(&lab), before);
    assert!(!gateway.bpffs().exists() && !gateway.state_dir().exists());
}

#[test]
fn a_state_directory_that_somebody_else_made_stays_empty() {
    let lab = Lab::two_armed(1).unwrap();
    let state = lab.dir().join("state-natgw");
    std::fs::create_dir(&state).unwrap();
    let mut gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    gateway.stop().unwrap();
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0);
}

#[test]
fn kill_9_with_persist_keeps_traffic_flowing_and_a_restart_adopts_the_flows() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options::one_eip().arg("--persist");
    let mut gateway = Gateway::start(&lab, &options).unwrap();
    let echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let (mut stream, seen) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut stream, b"before").unwrap();

    gateway.kill9().unwrap();
    clients::echo(&mut stream, &vec![1; 50_000]).unwrap();
    let flows = gateway.flows(&["--proto", "tcp"]).unwrap();
    assert_eq!(flows.len(), 1, "the table can be read without the daemon");
    assert_eq!(flows[0]["eip"], seen.to_string());
    let (mut second, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut second, b"new flows too").unwrap();

    let mut again = Gateway::start(&lab, &options).unwrap();
    clients::echo(&mut stream, &vec![2; 50_000]).unwrap();
    assert_eq!(again.flows(&["--proto", "tcp"]).unwrap().len(), 2, "adopted");
    assert_eq!(echo.seen().len(), 2);
    // A polite stop with --persist leaves the data plane up as well; detach takes it down.
    assert_eq!(again.stop().unwrap().code(), Some(0));
    clients::echo(&mut stream, b"after a stop").unwrap();
    again.say(&["detach", "--purge"]).unwrap();
    assert_eq!(pins_below(again.bpffs()), Vec::<String>::new());
}

#[test]
fn flows_do_not_outlive_their_eip() {
    let lab = Lab::two_armed(1).unwrap();
    let first = Options::one_eip().arg("--persist");
    let mut gateway = Gateway::start(&lab, &first).unwrap();
    let echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut stream, b"by the first EIP").unwrap();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));

    let second = Options { eips: vec![eip(1).to_string()], ..first };
    let again = Gateway::start(&lab, &second).unwrap();
    wait_until("the flow of the removed EIP to go", PATIENCE, || again.flows(&[]).unwrap().is_empty());
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    clients::echo(&mut stream, b"by the second").unwrap();
    assert_eq!(*echo.seen().last().unwrap().ip(), eip(1));
}

#[test]
fn a_table_size_that_nobody_configured_yields_to_the_table_that_is_there() {
    let lab = Lab::two_armed(1).unwrap();
    let sized = |flows: &str| Options::one_eip().arg("--persist").arg("--max-flows").arg(flows);
    let mut gateway = Gateway::start(&lab, &sized("5000")).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    gateway.stop().unwrap();

    let mut again = Gateway::start(&lab, &Options::one_eip().arg("--persist")).unwrap();
    clients::echo(&mut stream, b"still there").unwrap();
    assert_eq!(again.stats().unwrap()["flows"]["capacity"], 5000);
    assert!(again.has_logged("adopted"), "{}", again.log());
    again.stop().unwrap();

    let replaced = Gateway::start(&lab, &sized("6000")).unwrap();
    assert_eq!(replaced.stats().unwrap()["flows"]["capacity"], 6000);
    assert!(
        replaced.has_logged("replaced") && replaced.log().contains("max_flows was 5000 and is 6000 now"),
        "{}",
        replaced.log()
    );
}

fn echo_address() -> SocketAddrV4 {
    SocketAddrV4::new(SRV_A, 7)
}

#[test]
fn kill_9_then_detach_restores_everything() {
    let lab = Lab::two_armed(1).unwrap();
    let before = fingerprint(&lab);
    let mut gateway = Gateway::start(&lab, &Options::one_eip().arg("--persist")).unwrap();
    gateway.kill9().unwrap();
    gateway.say(&["detach"]).unwrap();
    assert_eq!(fingerprint(&lab), before);
    assert!(!gateway.bpffs().exists() && !gateway.state_dir().exists());
}

/// A gateway of which nothing is left but the guards.
fn killed_and_without_xdp(lab: &Lab) -> Gateway<'_> {
    let mut gateway = Gateway::start(lab, &Options::one_eip().arg("--persist")).unwrap();
    gateway.kill9().unwrap();
    for pin in
        pins_below(gateway.bpffs()).iter().filter(|p| p.contains("link_xdp_") || p.contains("link_twin_"))
    {
        // Removing the last pin would do as well, but when the kernel's worker lets go of the program then is its own
        // affair: a busy machine was seen to take over ten seconds.
        lab.gw().output("bpftool", &["link", "detach", "pinned", pin]).unwrap();
        std::fs::remove_file(pin).unwrap();
    }
    assert!(!lab.gw().output("ip", &["link"]).unwrap().contains("xdp"), "XDP is gone");
    gateway
}

#[test]
fn b2_no_leak_after_kill_9_when_xdp_is_detached_by_force() {
    let lab = Lab::two_armed(1).unwrap();
    let _gateway = killed_and_without_xdp(&lab);
    let outside = lab.outside_tap().unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 0);
    assert!(outside.find(|p, _| p.dst == SRV_A).is_empty(), "the egress guard holds without XDP");
}

/// Invariant 2 without the XDP program: the EIP is an address of the host, whose stack would answer.
#[test]
fn nothing_unsolicited_is_answered_or_enters_when_xdp_is_gone() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = killed_and_without_xdp(&lab);
    let (outside, inside) = (lab.outside_tap().unwrap(), lab.inside_tap().unwrap());
    assert_eq!(clients::ping(lab.node("srv-a"), eip(0), 2, &[]).unwrap(), 0);
    lab.node("srv-a").run(|| {
        let closed = std::net::SocketAddr::from((eip(0), 22));
        std::net::TcpStream::connect_timeout(&closed, Duration::from_secs(1)).unwrap_err();
        std::net::UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"?", (eip(0), 9)).unwrap();
    });
    lab.node("wan").ip(&format!("route replace 10.0.0.0/24 via {GW_OUTSIDE}")).unwrap();
    assert_eq!(clients::ping(lab.node("wan"), client_addr(0), 2, &[]).unwrap(), 0);
    assert_eq!(outside.find(|p, _| p.src == eip(0)).len(), 0, "the EIP answers nobody");
    assert_eq!(inside.find(|p, _| p.dst == client_addr(0)).len(), 0, "nothing entered");
    assert!(gateway.drops("guard").unwrap() > 0);
}

#[test]
fn a_second_start_on_the_same_interfaces_is_refused_and_disturbs_nothing() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _echo = Server::tcp_echo(lab.node("srv-a"), any(7)).unwrap();
    let (mut stream, _) = clients::connect_tcp(lab.client(0), 0, echo_address()).unwrap();
    let before = fingerprint(&lab);

    let same = run_to_end(&lab, &Options::one_eip()).unwrap();
    assert_eq!(same.status.code(), Some(1));
    let message = String::from_utf8_lossy(&same.stderr).into_owned();
    assert!(message.contains(&gateway.pid().to_string()), "names the one that runs: {message}");
    let other = Options { instance: Some("other".to_owned()), ..Options::one_eip() };
    let other = run_to_end(&lab, &other).unwrap();
    assert_eq!(other.status.code(), Some(1), "{}", String::from_utf8_lossy(&other.stderr));
    let message = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(
        (message.contains("in0 (xdp_inside, id ") || message.contains("program tc_inside is on in0"))
            && message.contains("natgw detach --state-dir"),
        "{message}"
    );
    assert!(!lab.dir().join("state-other").exists() && !lab.bpffs().unwrap().join("other").exists());

    assert_eq!(fingerprint(&lab), before);
    clients::echo(&mut stream, b"undisturbed").unwrap();
}

#[test]
fn an_xdp_program_of_somebody_else_is_named_with_its_way_out() {
    let (lab, donor) = (Lab::two_armed(1).unwrap(), Lab::two_armed(1).unwrap());
    let gateway = Gateway::start(&donor, &Options::one_eip()).unwrap();
    let program = gateway.bpffs().join(format!("v{}/prog_reaper", nat_common::abi::SCHEMA));
    let refusal = || {
        let out = run_to_end(&lab, &Options::one_eip().arg("--xdp").arg("native")).unwrap();
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    for mode in ["xdpdrv", "xdpgeneric"] {
        lab.gw().ip(&format!("link set dev in0 {mode} pinned {}", program.display())).unwrap();
        let (message, way_out) = (refusal(), format!("link set dev in0 {mode} off"));
        assert!(
            message.contains("in0 (reaper, id ") && message.contains(&format!("`ip {way_out}`")),
            "{message}"
        );
        lab.gw().ip(&way_out).unwrap();
    }
    let link = xdp_pass::attach(lab.gw(), "in0").unwrap();
    let message = refusal();
    assert!(message.contains("by bpf_link ") && message.contains("`bpftool link detach id "), "{message}");
    drop(link);
    Gateway::start(&lab, &Options::one_eip()).unwrap();
}

#[test]
fn stale_pins_of_a_crash_are_cleaned_up_by_the_next_start() {
    let lab = Lab::two_armed(1).unwrap();
    let before = fingerprint(&lab);
    let mut crashed = Gateway::start(&lab, &Options::one_eip()).unwrap();
    crashed.kill9().unwrap();
    let mut gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    assert_eq!(gateway.stop().unwrap().code(), Some(0));
    assert_eq!(fingerprint(&lab), before, "also what the crashed one had changed");
}

#[test]
fn an_interface_that_disappears_and_comes_back_is_served_again() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let server = SocketAddrV4::new(SRV_A, 53);
    clients::ask_udp(lab.client(0), 0, server).unwrap();

    let (gw, lan) = (lab.gw(), lab.node("lan"));
    gw.ip("link del in0").unwrap();
    let recorded = || std::fs::read_to_string(gateway.state_dir().join("state.json")).unwrap();
    wait_until("the loss to be on record", PATIENCE, || recorded().contains("\"missing\": true"));
    let page = gateway.say(&["status"]).unwrap();
    assert!(
        page.contains("in0 (inside, missing)")
            && page.contains(&format!("out0 (outside, {})", xdp_in_words())),
        "{page}"
    );
    assert!(page.lines().any(|l| l.starts_with("fault") && l.contains("in0 is missing")), "{page}");
    let in0 = || status(&gateway)["interfaces"][0].clone();
    assert_eq!((&in0()["name"], &in0()["missing"]), (&"in0".into(), &true.into()));
    gw.ip(&format!("link add in0 type veth peer name gw netns {}", lan.name())).unwrap();
    lan.ip("link set gw master br0\nlink set gw up").unwrap();
    nat_tests::lab::topology::tune("lan", lan).unwrap();
    gw.ip("addr add 10.0.0.1/24 dev in0\nlink set in0 up").unwrap();
    nat_tests::lab::topology::tune("gw", gw).unwrap();
    lab.client(0).ip("neigh flush all").unwrap();
    wait_until("traffic through the new interface", Duration::from_secs(20), || {
        clients::ask_udp(lab.client(0), 0, server).is_ok_and(|seen| *seen.ip() == eip(0))
    });
    assert_eq!((&in0()["attached"], &in0()["missing"]), (&true.into(), &false.into()));
}

fn status(gateway: &Gateway<'_>) -> serde_json::Value {
    serde_json::from_str(&gateway.say(&["status", "--json"]).unwrap()).unwrap()
}

#[test]
fn a_second_gateway_in_another_namespace_does_not_collide() {
    let one = Lab::two_armed(1).unwrap();
    let two = Lab::start(Topology::one_armed(1)).unwrap();
    let _first = Gateway::start(&one, &Options::one_eip()).unwrap();
    let _second = Gateway::start(&two, &Options::one_eip()).unwrap();
    for lab in [&one, &two] {
        let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
        let seen = clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
        assert_eq!(*seen.ip(), eip(0));
    }
}

#[test]
fn verbs_work_from_another_namespace_and_say_where_the_gateway_is() {
    let lab = Lab::two_armed(1).unwrap();
    let mut gateway = Gateway::start(&lab, &Options::one_eip().arg("--persist")).unwrap();
    let _dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    clients::ask_udp(lab.client(0), 0, SocketAddrV4::new(SRV_A, 53)).unwrap();
    let elsewhere = |args: &[&str]| {
        let mut natgw = lab.node("srv-a").command(natgw_path());
        let out = natgw.arg("--state-dir").arg(gateway.state_dir()).args(args).output().unwrap();
        (out.status.success(), String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned())
    };
    let (_, page) = elsewhere(&["status"]);
    assert!(
        page.contains(&format!("in0 (inside, {})", xdp_in_words())) && page.contains("nsenter --target"),
        "{page}"
    );
    assert!(!page.contains("fault"), "{page}");
    let (_, flows) = elsewhere(&["flows"]);
    assert!(flows.contains("out0/in0"), "names of the gateway's interfaces: {flows}");

    gateway.kill9().unwrap();
}

#[test]
fn detach_works_in_the_gateways_namespace_wherever_it_is_called() {
    let (lab, other) = (Lab::two_armed(1).unwrap(), Lab::two_armed(1).unwrap());
    let before = fingerprint(&lab);
    let bystander = Gateway::start(&other, &Options::one_eip()).unwrap();
    let managed = |lab: &Lab| {
        let neighbours = lab.gw().output("ip", &["neigh"]).unwrap();
        neighbours.lines().filter(|line| line.contains("managed")).count()
    };
    wait_until("the bystander's managed neighbours", PATIENCE, || managed(&other) > 0);
    // Stopped, nothing keeps the bystander from losing them for good.
    bystander.signal(nix::sys::signal::Signal::SIGSTOP).unwrap();
    let kept = managed(&other);
    let detach = |gateway: &Gateway<'_>| {
        let mut natgw = other.gw().command(natgw_path());
        natgw.arg("--state-dir").arg(gateway.state_dir()).arg("--bpffs").arg(gateway.bpffs());
        let out = natgw.arg("detach").output().unwrap();
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    };
    for kill in [true, false] {
        let mut gateway = Gateway::start(&lab, &Options::one_eip().arg("--persist")).unwrap();
        wait_until("managed neighbours", PATIENCE, || managed(&lab) > 0);
        if kill {
            gateway.kill9().unwrap();
        } else {
            assert_eq!(gateway.stop().unwrap().code(), Some(0));
        }
        detach(&gateway);
        assert_eq!(fingerprint(&lab), before);
        assert_eq!(managed(&lab), 0);
        assert_eq!(pins_below(gateway.bpffs()), Vec::<String>::new());
    }
    assert_eq!(managed(&other), kept, "those of another gateway stay");
}

#[test]
fn b2_nothing_leaks_while_natgw_starts_and_stops() {
    let lab = Lab::two_armed(1).unwrap();
    let dns = Server::udp_echo(lab.node("srv-a"), any(53)).unwrap();
    let socket = lab.client(0).run(|| std::net::UdpSocket::bind(any(0)).unwrap());
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|s| {
        s.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                // Unreachable is an answer too while nothing routes.
                let _ = socket.send_to(b"any time", SocketAddrV4::new(SRV_A, 53));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        for _ in 0..3 {
            let seen = dns.seen().len();
            let mut gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
            wait_until("traffic", PATIENCE, || dns.seen().len() > seen);
            gateway.stop().unwrap();
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    lab.assert_no_leak();
    let strange: Vec<_> = dns.seen().into_iter().filter(|s| *s.ip() != eip(0)).collect();
    assert!(strange.is_empty(), "{} datagrams arrived from {}", strange.len(), strange[0]);
}

#[test]
fn the_state_directory_alone_names_the_instance() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    for verb in [["flows", "--json"], ["stats", "--json"], ["status", "--json"]] {
        let out =
            lab.gw().command(natgw_path()).arg("--state-dir").arg(gateway.state_dir()).args(verb).output();
        let out = out.unwrap();
        assert!(out.status.success(), "{verb:?}: {}", String::from_utf8_lossy(&out.stderr));
    }
}

#[test]
fn who_may_not_look_is_told_so() {
    use std::os::unix::process::CommandExt as _;
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    for verb in ["status", "flows", "stats"] {
        let mut natgw = Command::new(natgw_path());
        natgw.arg("--state-dir").arg(gateway.state_dir()).arg("--bpffs").arg(gateway.bpffs());
        let out = natgw.arg(verb).uid(65534).gid(65534).output().unwrap();
        let message = String::from_utf8_lossy(&out.stderr);
        assert!(!out.status.success() && message.contains("as root"), "{verb}: {message}");
    }
}

#[test]
fn status_and_completions_and_man_work() {
    let lab = Lab::two_armed(1).unwrap();
    let gateway = Gateway::start(&lab, &Options::one_eip()).unwrap();
    assert!(status(&gateway).is_object());
    assert!(gateway.say(&["status"]).unwrap().contains("in0"));
    assert!(gateway.say(&["eip", "list"]).unwrap().contains(&eip(0).to_string()));
    for args in [["completions", "bash"].as_slice(), &["man"]] {
        let out = Command::new(natgw_path()).args(args).output().unwrap();
        assert!(out.status.success() && !out.stdout.is_empty(), "{args:?}");
    }
}
