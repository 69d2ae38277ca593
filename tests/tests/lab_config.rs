//! Bad configurations: refused, the key named, nothing on the host touched.

use nat_tests::lab::gateway::run_to_end;
use nat_tests::lab::{Lab, Options, SRV_A, clients};

const GOOD: &str = r#"
[interfaces]
inside = ["in0"]
outside = ["out0"]
[[pool]]
name = "default"
eips = ["192.0.2.1"]
sources = ["10.0.0.0/8"]
"#;

#[test]
fn each_kind_of_mistake_is_refused_with_the_key_named_and_nothing_changed() {
    let cases: [(&str, String, &str); 10] = [
        ("an unknown key", format!("colour = \"red\"\n{GOOD}"), "colour"),
        ("an unknown key in a table", GOOD.replace("[[pool]]", "[[pool]]\neggs = 1"), "eggs"),
        ("not TOML", GOOD.replace("[interfaces]", "[interfaces"), "line"),
        ("an interface that does not exist", GOOD.replace("out0", "out9"), "out9"),
        ("an EIP that is no address", GOOD.replace("192.0.2.1", "192.0.2.300"), "eips"),
        ("an inside prefix that contains an EIP", GOOD.replace("10.0.0.0/8", "192.0.0.0/8"), "sources"),
        ("an empty port range", GOOD.replace("[[pool]]", "[[pool]]\nports = \"5000-4000\""), "ports"),
        (
            "an EIP in two pools",
            format!("{GOOD}[[pool]]\nname = \"b\"\neips = [\"192.0.2.1\"]\nsources = [\"172.16.0.0/12\"]\n"),
            "192.0.2.1",
        ),
        (
            "overlapping pools",
            format!("{GOOD}[[pool]]\nname = \"b\"\neips = [\"192.0.2.2\"]\nsources = [\"10.0.0.0/8\"]\n"),
            "10.0.0.0/8",
        ),
        ("a timeout that is no time", format!("{GOOD}[timeouts]\nudp = \"soon\"\n"), "udp"),
    ];
    let lab = Lab::two_armed(1).unwrap();
    let state = || {
        let gw = lab.gw();
        let links = gw.output("ip", &["-d", "-o", "link"]).unwrap();
        let forwarding = gw.read_sysctl("net.ipv4.conf.in0.forwarding").unwrap();
        (links, gw.output("ip", &["-o", "addr"]).unwrap(), forwarding)
    };
    let before = state();
    for (what, config, named) in cases {
        let out = run_to_end(&lab, &Options { config: Some(config), ..Options::default() }).unwrap();
        let message = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(matches!(out.status.code(), Some(1 | 2)), "{what}: {}\n{message}", out.status);
        assert!(message.contains(named), "{what}: `{named}` is not named in: {message}");
        assert!(!message.contains("panicked"), "{what}: {message}");
        assert_eq!(state(), before, "{what}: something was changed");
        assert!(
            std::fs::read_dir(lab.bpffs().unwrap())
                .unwrap()
                .all(|e| { e.unwrap().file_name().to_string_lossy().ends_with(".debug") }),
            "{what}: pins were made"
        );
    }
    assert_eq!(clients::ping(lab.client(0), SRV_A, 1, &[]).unwrap(), 0);
}

#[test]
fn a_good_configuration_file_works() {
    let lab = Lab::two_armed(1).unwrap();
    let options = Options { config: Some(GOOD.to_owned()), ..Options::default() };
    let _gateway = nat_tests::lab::Gateway::start(&lab, &options).unwrap();
    assert_eq!(clients::ping(lab.client(0), SRV_A, 3, &[]).unwrap(), 3);
}
