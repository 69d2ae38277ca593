//! Every refusal names the key and the line (or the flag); what is accepted means what the file says.

use std::error::Error as _;
use std::path::Path;

use ipnet::Ipv4Net;
use nat_common::hop::Rpf;
use nat_common::timeouts::Timeouts;

use super::error::Error;
use super::flags::GatewayFlags;
use super::render::to_toml;
use super::written::Config;
use crate::host::facts::{Address, HostFacts, Link};
use crate::model::gateway::{Announce, DesiredEip, Gateway, SizedBy, XdpChoice};
use crate::model::path::{Device, Framing};

mod uplinks;

fn host() -> HostFacts {
    let link = |index, name: &str, framing| Link {
        name: name.to_owned(),
        index,
        mac: [2, 0, 0, 0, 0, 1],
        mtu: 1500,
        up: true,
        device: Device { framing, ..Device::default() },
    };
    let address = |index, net: &str| Address { index, net: net.parse().expect("prefix"), broadcast: None };
    HostFacts {
        links: vec![
            link(1, "lo", Framing::Other),
            link(2, "eth0", Framing::Ethernet),
            link(3, "eth1", Framing::Ethernet),
            link(4, "eth2", Framing::Ethernet),
            link(5, "wg0", Framing::Ip),
        ],
        addresses: vec![
            address(1, "127.0.0.1/8"),
            address(2, "203.0.113.2/24"),
            address(3, "10.0.0.1/24"),
            address(4, "192.168.7.1/24"),
        ],
        gateways: ["203.0.113.1".parse().expect("address")].into(),
        ephemeral: (32768, 60999),
        memory_available: 8 << 30,
    }
}

fn flags(args: &[&str]) -> GatewayFlags {
    use clap::{Args as _, FromArgMatches as _};
    let command = GatewayFlags::augment_args(clap::Command::new("natgw"));
    let matches = command.get_matches_from(["natgw"].iter().chain(args));
    GatewayFlags::from_arg_matches(&matches).expect("valid flags")
}

fn resolve(text: &str, args: &[&str]) -> Result<Gateway, Error> {
    Config::parse(Path::new("natgw.toml"), text, &flags(args))?.resolve(&host())
}

fn refusal(text: &str) -> String {
    let error = resolve(text, &[]).expect_err(text);
    let message = error.to_string();
    assert!(!message.contains('\n'), "one line: {message}");
    message
}

const SIDES: &str = "[interfaces]\ninside = [\"eth1\"]\noutside = [\"eth0\"]\n";

/// A valid file whose last line is line 6, with `more` after it.
fn after(more: &str) -> String {
    format!("{SIDES}[[pool]]\nname = \"a\"\neips = [\"203.0.113.10\"]\n{more}")
}

#[test]
fn refusals_that_name_key_and_line() {
    let big = after("sources = [\"10.0.0.0/8\"]\n");
    for (text, parts) in [
        ("colour = 1\n".to_owned(), &["natgw.toml line 1, colour", "unknown key `colour`"][..]),
        (after("port = \"1-2\"\n"), &["line 7, pool.port", "unknown key `port`", "`ports`"]),
        ("a = = 1\n".to_owned(), &["natgw.toml line 1"]),
        ("max_flows = \"many\"\n".to_owned(), &["line 1, max_flows", "string"]),
        (format!("max_flows = -1\n{}", after("")), &["line 1, max_flows"]),
        (format!("max_flows = 0\n{}", after("")), &["line 1, max_flows", "at least 1"]),
        (format!("max_flows = 4_000_000_000\n{}", after("")), &["line 1, max_flows", "MiB", "at most"]),
        (format!("xdp = \"fast\"\n{}", after("")), &["line 1, xdp", "native"]),
        (format!("announce = \"bgp\"\n{}", after("")), &["line 1, announce", "arp"]),
        (after("ports = \"2000-1000\"\n"), &["line 7, pool.ports", "empty"]),
        (after("ports = \"0-100\"\n"), &["line 7, pool.ports", "empty"]),
        (after("ports = \"all\"\n"), &["line 7, pool.ports", "FIRST-LAST"]),
        (after("sources = [\"10.0.0.0/40\"]\n"), &["line 7, pool.sources", "prefix"]),
        (
            after("sources = [\"203.0.113.0/24\"]\n"),
            &["line 6, pool.eips", "203.0.113.10", "line 7, pool.sources"],
        ),
        (after("[timeouts]\nudp = \"0s\"\n"), &["line 8, timeouts.udp", "at least 1s"]),
        (after("[timeouts]\nudp = \"13d\"\n"), &["line 8, timeouts.udp", "at most 12d"]),
        (after("[timeouts]\nudp = \"soon\"\n"), &["line 8, timeouts.udp", "no duration"]),
        (after("[timeouts]\nudp = 300\n"), &["line 8, timeouts.udp"]),
        (after("[timeouts]\nsctp = \"5m\"\n"), &["line 8, timeouts.sctp", "unknown key"]),
        (after("[timeouts]\nprofile = \"gcp\"\n"), &["line 8, timeouts.profile", "aws"]),
        (after("[metrics]\nlisten = \"9464\"\n"), &["line 8, metrics.listen"]),
        (after("[exempt]\ndestinations = [\"x\"]\n"), &["line 8, exempt.destinations"]),
        (
            format!("{big}[[pool]]\nname = \"b\"\neips = [\"203.0.113.11\"]\nsources = [\"10.1.0.0/16\"]\n"),
            &["line 11, pool.sources", "10.1.0.0/16", "overlaps 10.0.0.0/8", "line 7, pool.sources"],
        ),
        (
            format!("{big}[[pool]]\nname = \"b\"\neips = [\"203.0.113.11\"]\n"),
            &["line 8", "pool \"b\" has no sources"],
        ),
        (
            format!(
                "{big}[[pool]]\nname = \"b\"\neips = [\"203.0.113.8/29\"]\nsources = [\"172.16.0.0/12\"]\n"
            ),
            &["line 10, pool.eips", "203.0.113.10 is already in pool \"a\"", "line 6, pool.eips"],
        ),
        (
            format!(
                "{big}[[pool]]\nname = \"a\"\neips = [\"203.0.113.11\"]\nsources = [\"172.16.0.0/12\"]\n"
            ),
            &["line 8", "two pools called \"a\""],
        ),
        (
            format!("{big}[[pool]]\nname = \"b\"\nsources = [\"172.16.0.0/12\"]\n"),
            &["line 8", "pool \"b\" has no EIPs"],
        ),
        (
            format!("{SIDES}[[pool]]\neips = [\"203.0.113.10\", \"203.0.113.10\"]\n"),
            &["line 5, pool.eips", "already in pool \"default\""],
        ),
        (format!("{SIDES}[[pool]]\neips = [\"224.0.0.1\"]\n"), &["line 5, pool.eips", "multicast"]),
        (format!("{SIDES}[[pool]]\neips = [\"127.0.0.1\"]\n"), &["line 5, pool.eips", "loopback"]),
        (
            format!("{SIDES}[[pool]]\neips = [\"203.0.113.10/24\"]\n"),
            &["line 5, pool.eips", "203.0.113.0/24"],
        ),
        (format!("{SIDES}[[pool]]\neips = [\"10.0.0.0/8\"]\n"), &["line 5, pool.eips", "4096"]),
        (
            format!("{SIDES}[[pool]]\neips = [\"10.0.0.1\"]\n"),
            &["line 5, pool.eips", "line 2, interfaces.inside"],
        ),
        (format!("{SIDES}[[pool]]\neips = [\"10.0.0.77\"]\n"), &["line 5, pool.eips", "10.0.0.0/24"]),
        (
            format!("{SIDES}[[pool]]\neips = [\"203.0.113.2\"]\nports = \"40000-50000\"\n"),
            &["line 6, pool.ports", "203.0.113.2", "32768-60999"],
        ),
        (
            "[interfaces]\ninside = [\"eth9\"]\noutside = [\"eth0\"]\n".to_owned(),
            &["line 2, interfaces.inside", "\"eth9\" does not exist"],
        ),
        (
            "xdp = \"native\"\n[interfaces]\ninside = [\"eth1\"]\noutside = [\"wg0\"]\n".to_owned(),
            &["line 4, interfaces.outside", "\"wg0\"", "no Ethernet header", "write xdp = \"auto\""],
        ),
    ] {
        says(&refusal(&text), parts);
    }
}

#[test]
fn values_of_the_wrong_kind_are_answered_in_words_of_the_manual() {
    for (text, parts) in [
        (
            "xdp = \"auto\"\nxdp = \"auto\"\n".to_owned(),
            &["line 2", "the key xdp stands here a second time"][..],
        ),
        (
            "xdp = \"turbo\"\n".to_owned(),
            &["unknown value \"turbo\"; write \"auto\", \"native\", \"generic\" or \"tc\""],
        ),
        (
            "[interfaces]\ninside = \"eth1\"\n".to_owned(),
            &["line 2, interfaces.inside", "string \"eth1\" stands here; write a list: [\"eth1\"]"],
        ),
        ("shared_echo = 1\n".to_owned(), &["line 1, shared_echo", "write true or false"]),
        (
            "rpf = true\n".to_owned(),
            &["line 1, rpf", "boolean `true` stands here; write \"strict\", \"loose\" or \"off\""],
        ),
        (
            "[reserved]\nports = [\"udp/4789\"]\n".to_owned(),
            &["line 2, reserved.ports", "sequence stands here; write { \"EIP\" = [\"udp/4789\"] }"],
        ),
        (
            "[reserved]\nports = { \"192.0.2.1\" = [\"tcp/5000-70000\"] }\n".to_owned(),
            &["line 2, reserved.ports", "70000 in \"5000-70000\" is no port; ports are 1 to 65535"],
        ),
    ] {
        says(&refusal(&text), parts);
    }
}

/// The keys that the reader of the file knows in a table, as it says itself.
fn known_keys(table: &str) -> Vec<String> {
    let message = refusal(&format!("{table}\nnobody_knows_me = 1\n"));
    let (_, known) = message.split_once("known here: ").expect("the refusal lists what is known");
    known.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn the_example_has_every_key_that_can_be_written_and_check_prints_it() {
    const EXAMPLE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../natgw.example.toml"));
    // Tables, and keys of the documented configuration that this version refuses.
    const OTHERS: [&str; 9] =
        ["interfaces", "pool", "exempt", "timeouts", "reserved", "metrics", "forward", "limits", "flow_log"];
    let everything = format!(
        "max_flows = 1000\n{SIDES}[[pool]]\neips = [\"203.0.113.10\"]\n[reserved]\nports = {{ \"203.0.113.10\" = [\"tcp/5000\"] \
         }}\n[metrics]\nlisten = \"127.0.0.1:9464\"\n"
    );
    let printed = to_toml(&resolve(&everything, &[]).expect("valid"));
    for table in ["", "[interfaces]", "[[pool]]", "[exempt]", "[timeouts]", "[reserved]", "[metrics]"] {
        assert!(EXAMPLE.contains(table) && printed.contains(table), "{table}");
        for key in known_keys(table).iter().filter(|key| !OTHERS.contains(&key.as_str())) {
            let is_it = |line: &str| {
                line.trim_start_matches(['#', ':', ' '])
                    .strip_prefix(key.as_str())
                    .is_some_and(|l| l.starts_with(" = "))
            };
            assert!(EXAMPLE.lines().any(is_it), "natgw.example.toml lacks {key} of {table}");
            // A profile is printed as the timeouts that it stands for.
            assert!(
                key == "profile" || printed.lines().any(is_it),
                "`natgw check` does not print {key} of {table}"
            );
        }
    }
}

#[test]
fn eips_that_are_somebody_elses_are_refused() {
    for (text, parts) in [
        (
            format!("{SIDES}[[pool]]\neips = [\"203.0.113.0/30\"]\n"),
            &["line 5, pool.eips", "203.0.113.0 cannot", "network address of 203.0.113.0/24 on eth0"][..],
        ),
        (
            format!("{SIDES}[[pool]]\neips = [\"203.0.113.255\"]\n"),
            &["line 5, pool.eips", "broadcast address of 203.0.113.0/24 on eth0"],
        ),
        (
            format!("{SIDES}[[pool]]\neips = [\"203.0.113.1\"]\n"),
            &["line 5, pool.eips", "203.0.113.1 cannot", "next hop"],
        ),
    ] {
        says(&refusal(&text), parts);
    }
}

fn says(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "\"{message}\" does not say \"{part}\"");
    }
}

#[test]
fn what_is_missing_is_asked_for() {
    assert!(refusal("").contains("no inside interface"));
    assert!(refusal("[interfaces]\ninside = [\"eth1\"]\n").contains("no outside interface"));
    assert!(refusal(SIDES).contains("no EIP is configured"));
    assert!(refusal(&format!("{SIDES}[[pool]]\nname = \"a\"\n")).contains("no EIP is configured"));
}

#[test]
fn keys_of_later_versions_are_refused_unless_they_mean_off() {
    for (text, key) in [
        ("mode = \"endpoint-independent\"\n".to_owned(), "line 1, mode"),
        ("filtering = \"address-dependent\"\n".to_owned(), "line 1, filtering"),
        (after("[limits]\nflows_per_client = 5\n"), "line 8, limits.flows_per_client"),
        (after("[limits]\nnew_flows_per_client_per_second = 5\n"), "line 8, limits.new_flows"),
        (after("[[forward]]\nproto = \"tcp\"\n"), "line 7, forward"),
        (after("[flow_log]\nfile = \"/x\"\n"), "line 7, flow_log"),
    ] {
        let message = refusal(&text);
        assert!(message.contains(key) && message.contains("not supported by this version"), "{message}");
    }
    let off = format!(
        "mode = \"endpoint-dependent\"\nfiltering = \"address-and-port-dependent\"\n{}",
        after("[limits]\nflows_per_client = 0\nnew_flows_per_client_per_second = 0\n")
    );
    assert!(resolve(&off, &[]).is_ok());
    assert!(refusal("mode = \"fast\"\n").contains("unknown value \"fast\""));
}

#[test]
fn refusals_of_flags_name_the_flag() {
    let base = ["--inside", "eth1", "--outside", "eth0", "--eip", "203.0.113.10"];
    for (more, parts) in [
        (["--inside", "eth9"], ["--inside", "does not exist"]),
        (["--outside", "lo"], ["--outside", "neither an Ethernet nor an IP header"]),
        (["--eip", "203.0.113.8/29"], ["--eip", "already in pool"]),
        (["--source", "203.0.0.0/16"], ["--source", "inside prefix"]),
        (["--max-flows", "0"], ["--max-flows", "at least 1"]),
    ] {
        let args: Vec<&str> = base.iter().chain(&more).copied().collect();
        let message = resolve("", &args).expect_err(more[1]).to_string();
        assert!(parts.iter().all(|p| message.contains(p)), "{message}");
    }
}

#[test]
fn flags_come_on_top_of_the_file() {
    let file = after("ports = \"5000-6000\"\n[timeouts]\nprofile = \"aws\"\nudp = \"5m\"\n");
    let args = [
        "--inside",
        "eth2",
        "--eip",
        "203.0.113.11",
        "--ports",
        "7000-8000",
        "--xdp",
        "generic",
        "--announce",
        "none",
        "--profile",
        "rfc",
        "--timeout",
        "icmp=30s",
        "--max-flows",
        "1000",
        "--exempt",
        "10.9.0.0/16",
        "--metrics",
        "127.0.0.1:9464",
        "--shared-echo",
        "false",
    ];
    let gateway = resolve(&file, &args).expect("valid");
    assert_eq!(gateway.inside, ["eth1", "eth2"]);
    assert_eq!(gateway.pools.len(), 1);
    assert_eq!(gateway.pools[0].eips.len(), 2);
    assert_eq!(gateway.pools[0].ports, (7000, 8000));
    assert_eq!((gateway.xdp, gateway.announce), (XdpChoice::Generic, Announce::None));
    assert_eq!((gateway.max_flows, gateway.max_flows_by), (1000, SizedBy::Operator));
    assert!(!gateway.shared_echo);
    let expected = Timeouts { icmp: 30_000, udp: 300_000, ..Timeouts::RFC };
    assert_eq!(gateway.timeouts, expected);
}

#[test]
fn sources_that_nobody_gave_are_found() {
    let nets = |texts: &[&str]| texts.iter().map(|t| t.parse().expect("prefix")).collect::<Vec<Ipv4Net>>();
    let gateway = resolve(&after(""), &[]).expect("valid");
    assert_eq!(
        gateway.pools[0].sources,
        nets(&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"])
    );
    // A private network outside, with the EIP in it: not an inside prefix.
    let upstream = ["--inside", "eth1", "--outside", "eth2", "--eip", "192.168.7.9"];
    let gateway = resolve("", &upstream).expect("valid");
    assert_eq!(gateway.pools[0].sources, nets(&["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"]));
    // One-armed: the wire's own network stays out when it has the EIP, and in when it has not.
    let one_armed = ["--inside", "eth2", "--outside", "eth2", "--eip", "192.168.7.1"];
    let gateway = resolve("", &one_armed).expect("valid");
    assert!(gateway.is_one_armed());
    assert_eq!(gateway.pools[0].sources, nets(&["10.0.0.0/8", "172.16.0.0/12", "100.64.0.0/10"]));
    let gateway =
        resolve("", &["--inside", "eth2", "--outside", "eth2", "--eip", "203.0.113.10"]).expect("valid");
    assert!(gateway.pools[0].sources.contains(&"192.168.0.0/16".parse().expect("prefix")));
}

#[test]
fn the_table_is_sized_from_memory() {
    let with_memory = |bytes| {
        let facts = HostFacts { memory_available: bytes, ..host() };
        let config = Config::parse(Path::new("f"), &after(""), &GatewayFlags::default()).expect("reads");
        let gateway = config.resolve(&facts).expect("valid");
        assert_eq!(gateway.max_flows_by, SizedBy::Memory);
        assert!(to_toml(&gateway).contains(&format!("\n# max_flows = {}\n", gateway.max_flows)));
        gateway.max_flows
    };
    assert_eq!(with_memory(64 << 30), 1_000_000);
    assert_eq!(with_memory(256 << 20), 262_144);
    assert_eq!(with_memory(0), 1024);
}

#[test]
fn what_check_prints_means_the_same_gateway() {
    let file = after(
        "[exempt]\ndestinations = [\"10.9.0.0/16\"]\n[metrics]\nlisten = \"[::1]:9464\"\n[reserved]\nports = { \"203.0.113.10\" = [\"udp/4789\", \"tcp/5000-5100\"] }\n",
    );
    for args in
        [&[][..], &["--eip", "203.0.113.2"], &["--eip", "203.0.113.16/29", "--timeout", "udp=1m500ms"]]
    {
        let gateway = resolve(&file, args).expect("valid");
        let printed = to_toml(&gateway);
        assert_eq!(resolve(&printed, &[]).expect(&printed), gateway, "{printed}");
    }
}

#[test]
fn check_says_what_sharing_an_eip_costs() {
    let gateway = resolve(&after(""), &["--eip", "203.0.113.2"]).expect("valid");
    let shared = DesiredEip {
        addr: "203.0.113.2".parse().expect("address"),
        host_ports: Some((32768, 60999)),
        of: None,
        outside: None,
        reserved: Vec::new(),
    };
    assert_eq!(gateway.pools[0].eips[1], shared);
    let printed = to_toml(&gateway);
    assert!(printed.contains("# 203.0.113.2 is shared"), "{printed}");
    assert!(printed.contains("32768-60999, NAT has 36280"), "{printed}");
}

#[test]
fn reserved_ports_are_refused_naming_key_and_line() {
    let reserved = |ports: &str| after(&format!("[reserved]\nports = {{ {ports} }}\n"));
    for (text, parts) in [
        (
            reserved("\"203.0.113.99\" = [\"udp/4789\"]"),
            &["line 8, reserved.ports", "203.0.113.99 is in no pool"][..],
        ),
        (reserved("\"eth0\" = [\"udp/4789\"]"), &["line 8, reserved.ports", "IPv4 address"]),
        (
            reserved("\"203.0.113.10\" = [\"sctp/9\"]"),
            &["line 8, reserved.ports.203.0.113.10", "udp/FIRST-LAST"],
        ),
        (reserved("\"203.0.113.10\" = [\"tcp/9-8\"]"), &["line 8, reserved.ports.203.0.113.10", "empty"]),
        (reserved("\"203.0.113.10\" = \"tcp/9\""), &["line 8, reserved.ports.203.0.113.10", "write a list"]),
        (
            reserved("\"203.0.113.10\" = [\"udp/1-40000\", \"udp/30000-65535\"]"),
            &["line 8, reserved.ports.203.0.113.10", "every udp port", "pool \"a\"", "1024-65535"],
        ),
        (after("[reserved]\nport = {}\n"), &["line 8, reserved.port", "unknown key"]),
    ] {
        says(&refusal(&text), parts);
    }
    // 300 separate ports on each of 64 EIPs: 19,200 entries.
    let ports: Vec<String> = (0..300).map(|i| format!("\"tcp/{}\"", 2001 + 2 * i)).collect();
    let eips: Vec<String> =
        (64..128).map(|i| format!("\"203.0.113.{i}\" = [{}]", ports.join(", "))).collect();
    let text = format!(
        "{SIDES}[[pool]]\neips = [\"203.0.113.64/26\"]\n[reserved]\nports = {{ {} }}\n",
        eips.join(", ")
    );
    says(&refusal(&text), &["line 7, reserved.ports", "room for 16384"]);
}

#[test]
fn reserved_ports_belong_to_their_eip() {
    let file =
        after("[reserved]\nports = { \"203.0.113.11\" = [\"tcp/5000-5100\", \"udp/4789\", \"tcp/5101\"] }\n");
    let gateway = resolve(&file, &["--eip", "203.0.113.11"]).expect("valid");
    let written =
        |i: usize| gateway.pools[0].eips[i].reserved.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(written(0), Vec::<String>::new());
    assert_eq!(written(1), ["tcp/5000-5101", "udp/4789"]);
}

#[test]
fn sources_are_checked_strictly_and_answers_limited_unless_told_otherwise() {
    let gateway = resolve(&after(""), &[]).expect("valid");
    assert_eq!((gateway.rpf, gateway.answers_per_second), (Rpf::Strict, 1000));
    let file = format!("rpf = \"off\"\nanswers_per_second = 0\n{}", after(""));
    let gateway = resolve(&file, &[]).expect("valid");
    assert_eq!((gateway.rpf, gateway.answers_per_second), (Rpf::Off, 0));
    let gateway = resolve(&file, &["--rpf", "loose", "--answers-per-second", "50"]).expect("valid");
    assert_eq!((gateway.rpf, gateway.answers_per_second), (Rpf::Loose, 50));
    for (text, parts) in [
        ("rpf = \"maybe\"\n", &["line 1, rpf", "write \"strict\", \"loose\" or \"off\""][..]),
        ("answers_per_second = -1\n", &["line 1, answers_per_second", "whole number"]),
        ("answers_per_second = 2_000_000\n", &["line 1, answers_per_second", "at most 1000000"]),
    ] {
        says(&refusal(&format!("{text}{}", after(""))), parts);
    }
}

#[test]
fn an_unreadable_file_is_named() {
    let error =
        Config::load(Some(Path::new("/nonexistent/natgw.toml")), &GatewayFlags::default()).expect_err("no");
    assert!(error.to_string().contains("/nonexistent/natgw.toml") && error.source().is_some());
}

#[test]
fn the_example_is_valid_and_says_what_it_means() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../natgw.example.toml");
    let text = std::fs::read_to_string(&path).expect("the example is there");
    let gateway = resolve(&text, &[]).expect("the example is valid");
    assert_eq!(gateway.interfaces(), ["eth1", "eth0"]);
    // Its commented lines are what holds without them.
    let defaults = resolve(&after(""), &[]).expect("valid");
    assert_eq!(
        (gateway.timeouts, gateway.xdp, gateway.announce),
        (defaults.timeouts, defaults.xdp, defaults.announce)
    );
    assert_eq!((gateway.rpf, gateway.answers_per_second), (defaults.rpf, defaults.answers_per_second));
    let uncommented: String =
        text.lines().map(|l| l.strip_prefix("#: ").unwrap_or(l)).fold(String::new(), |t, l| t + l + "\n");
    let spelled_out = resolve(&uncommented, &[]).expect(&uncommented);
    assert_eq!(spelled_out, gateway);
}
